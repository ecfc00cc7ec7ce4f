"""From candidates with scores to the order in which they are shown; see `reranker.Reranker`."""
