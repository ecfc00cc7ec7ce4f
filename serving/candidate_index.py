"""The contract of nearest-neighbour retrieval over candidate embeddings."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows


class Neighbours(NamedTuple):
    """Candidates per query, best first.

    rows: int64 [num_queries, k], the candidates' numbers among the `ItemRows` that the index was
    made over; scores: float32 [num_queries, k], the dot products. Where fewer than k were found
    the rest is -1 and -inf.
    """

    rows: Rows
    scores: npt.NDArray[np.float32]


class CandidateIndex(Protocol):
    """Maximum inner product search. Safe for searches beside one writer."""

    @property
    def is_exact(self) -> bool:
        """Whether `search` always returns the true top k."""
        ...

    def search(self, query_embeddings: npt.NDArray[np.float32], limit: int) -> Neighbours:
        """Return the `limit` best candidates of queries float32 [num_queries, dim]."""
        ...

    def upsert(
        self, candidate_ids: Sequence[str], candidate_embeddings: npt.NDArray[np.float32]
    ) -> None:
        """Insert or replace candidates; embeddings are float32 [n, dim]."""
        ...

    def delete(self, candidate_ids: Sequence[str]) -> None:
        """Remove candidates; an unknown id is no error."""
        ...
