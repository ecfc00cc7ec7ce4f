"""A two-tower model as a scorer."""

from trainer.baselines.scorer import Indices, Scores


class EmbeddingScorer:
    """Dot products of query and candidate embeddings: what a two-tower model retrieves by.

    query_embeddings: float32 [num_users, dimension]; candidate_embeddings: float32 [num_items,
    dimension], rows in the order of the split's users and catalogue.
    """

    def __init__(self, name: str, query_embeddings: Scores, candidate_embeddings: Scores) -> None:
        self.name = name
        self.queries = query_embeddings
        self.candidates = candidate_embeddings

    def score(self, users: Indices) -> Scores:
        """Return the users' dot products with all candidates."""
        return self.queries[users] @ self.candidates.T
