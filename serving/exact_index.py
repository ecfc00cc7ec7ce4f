"""Brute-force search, and the table of candidate embeddings that every model keeps."""

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.candidate_index import Neighbours
from serving.item_rows import UNKNOWN, ItemRows, Mask, Rows, best

Embeddings = npt.NDArray[np.float32]

Score = Callable[[Embeddings], npt.NDArray[np.float32]]
"""Gives each of the embeddings float32 [n, dimension] a score, float32 [n]."""


class ExactIndex:
    """A growable matrix with one row per item of `rows`; deleted rows are marked absent.

    Searches take no lock. One that runs beside the replacement of a candidate may score that
    candidate by a mixture of its old and its new embedding.
    """

    def __init__(self, dimension: int, rows: ItemRows | None = None) -> None:
        self.dimension = dimension
        self.rows = ItemRows() if rows is None else rows
        self._embeddings: Embeddings = np.zeros((1024, dimension), dtype=np.float32)
        self._present: Mask = np.zeros(1024, dtype=np.bool_)
        self._size = 0
        self._end = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self._size

    @property
    def is_exact(self) -> bool:
        """Always."""
        return True

    def search(self, query_embeddings: Embeddings, limit: int) -> Neighbours:
        """Return the `limit` best candidates of queries float32 [num_queries, dimension]."""
        check_embeddings("query_embeddings", query_embeddings, self.dimension)
        check_limit(limit)
        end = self._end
        scores = query_embeddings @ self._embeddings[:end].T
        scores[:, ~self._present[:end]] = -np.inf
        rows = np.full((len(scores), limit), UNKNOWN, dtype=np.int64)
        best_scores = np.full((len(scores), limit), -np.inf, dtype=np.float32)
        for query, products in enumerate(scores):
            found = best(products, min(limit, self._size))
            found = found[np.isfinite(products[found])]
            rows[query, : len(found)] = found
            best_scores[query, : len(found)] = products[found]
        return Neighbours(rows, best_scores)

    def upsert(self, candidate_ids: Sequence[str], candidate_embeddings: Embeddings) -> None:
        """Insert or replace candidates; embeddings are float32 [n, dimension]."""
        check_candidates(candidate_ids, candidate_embeddings, self.dimension)
        with self._lock:
            rows = self.rows.add(candidate_ids)
            if not len(rows):
                return
            end = max(self._end, int(rows.max()) + 1)
            self._reserve(end)
            self._embeddings[rows] = candidate_embeddings
            self._present[rows] = True
            self._end = end
            self._size = int(np.count_nonzero(self._present[:end]))

    def delete(self, candidate_ids: Sequence[str]) -> None:
        """Remove candidates; an unknown id is no error."""
        with self._lock:
            rows = self.rows.known(candidate_ids)
            self._present[rows[rows < self._end]] = False
            self._size = int(np.count_nonzero(self._present[: self._end]))

    def embeddings_of(self, candidate_ids: Iterable[str]) -> tuple[Embeddings, Mask]:
        """Return embeddings float32 [n, dimension] and which were found; the others are zero."""
        return self.embeddings_of_rows(self.rows.rows_of(candidate_ids))

    def embeddings_of_rows(self, rows: Rows) -> tuple[Embeddings, Mask]:
        """As `embeddings_of`, by row number; -1 is unknown."""
        end = self._end
        found = (rows >= 0) & (rows < end)
        safe = np.where(found, rows, 0)
        found &= self._present[safe]
        embeddings = self._embeddings.take(safe, axis=0)
        if not found.all():
            embeddings[~found] = 0
        return embeddings, found

    def has_embeddings(self, candidate_ids: Iterable[str]) -> Mask:
        """Return bool [n], which of them are candidates."""
        rows = self.rows.rows_of(candidate_ids)
        return (rows >= 0) & self.has(np.maximum(rows, 0))

    def has(self, rows: Rows) -> Mask:
        """Return bool [n], which rows are candidates; none of them is negative."""
        known: Mask = rows < self._end
        return known & self._present[np.where(known, rows, 0)]

    def score(
        self, query_embedding: Embeddings, allowed: Mask, count: int
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Return the `count` best of the allowed rows, best first, and their dot products."""
        return self.best_by(partial(dot_products, query_embedding=query_embedding), allowed, count)

    def best_by(
        self, score: Score, allowed: Mask, count: int
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        """Return the `count` best of the allowed rows by `score`, best first, and their scores."""
        end = min(self._end, len(allowed))
        allowed = allowed[:end] & self._present[:end]
        embeddings = self._embeddings[:end]
        rows = np.flatnonzero(allowed)
        # To gather rows costs more than to multiply some that are not needed.
        if len(rows) * 4 < end:
            scores = score(embeddings[rows])
        else:
            scores = score(embeddings)[rows]
        positions = best(scores, count)
        return rows[positions], scores[positions]

    def candidates(self) -> tuple[Rows, Embeddings]:
        """Return the rows that are present and a copy of their embeddings."""
        with self._lock:
            rows = np.flatnonzero(self._present[: self._end])
            return rows, self._embeddings[rows]

    def _reserve(self, end: int) -> None:
        if end > len(self._present):
            capacity = max(end, 2 * len(self._present))
            embeddings = np.zeros((capacity, self.dimension), dtype=np.float32)
            embeddings[: self._end] = self._embeddings[: self._end]
            present = np.zeros(capacity, dtype=np.bool_)
            present[: self._end] = self._present[: self._end]
            # A reader holds `_end` rows of either matrix, old or new.
            self._embeddings, self._present = embeddings, present


def dot_products(embeddings: Embeddings, query_embedding: Embeddings) -> npt.NDArray[np.float32]:
    """Return float32 [n] of embeddings float32 [n, dim] with a query float32 [dim].

    It does not use a matrix product: the threads of BLAS wait for each other, which on a busy
    machine turns .1 ms into 8. Row by row no threads are used, and equal rows have equal products
    wherever they stand.
    """
    products: npt.NDArray[np.float32] = np.vecdot(embeddings, query_embedding)
    return products


def check_embeddings(argument: str, embeddings: Embeddings, dimension: int) -> None:
    """Raise ValueError unless `embeddings` is a finite float32 array [n, dimension]."""
    if embeddings.ndim != 2 or embeddings.shape[1] != dimension:
        raise ValueError(
            f"`{argument}` must have shape [n, {dimension}]. Received: {list(embeddings.shape)}."
        )
    if embeddings.dtype != np.float32:
        raise ValueError(f"`{argument}` must be float32. Received: {embeddings.dtype}.")
    if not np.isfinite(embeddings).all():
        raise ValueError(f"`{argument}` must be finite. Received: {embeddings}.")


def check_candidates(ids: Sequence[str], embeddings: Embeddings, dimension: int) -> None:
    """Raise ValueError unless there is one finite embedding for each of distinct, named ids."""
    check_embeddings("candidate_embeddings", embeddings, dimension)
    if len(ids) != len(embeddings):
        raise ValueError(
            f"`candidate_ids` must hold one id per embedding. Received: {len(ids)} ids, "
            f"{len(embeddings)} embeddings."
        )
    if len(set(ids)) != len(ids):
        raise ValueError("`candidate_ids` must be distinct. Received: one of them twice.")


def check_limit(limit: int) -> None:
    """Raise ValueError unless `limit` is positive."""
    if limit < 1:
        raise ValueError(f"`limit` must be at least 1. Received: {limit}.")
