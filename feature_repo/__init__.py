"""What is known about users and items: schema, history, archive and the Feast feature store."""
