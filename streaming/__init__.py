"""From the event log to features and embeddings."""
