"""What sources and ranking both read: what is known of items, and of a user's taste."""
