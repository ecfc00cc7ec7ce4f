"""What a bundle ranks by: tables of neighbours, signals of items, and the ranker."""
