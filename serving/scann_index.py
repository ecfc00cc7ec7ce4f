"""Approximate search by ScaNN, kept up to date while it serves.

The searcher is built from vectors, never read from disk: ScaNN keeps ids in a pickle.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.candidate_index import Neighbours
from serving.exact_index import (
    Embeddings,
    ExactIndex,
    check_candidates,
    check_embeddings,
    check_limit,
)
from serving.item_rows import UNKNOWN, Rows
from serving.scann_searcher import build_searcher

TREE_FROM = 2_000
"""Below this many candidates there is nothing to partition: the table itself is searched."""

# Recall of the best 10 and of the best 200, at 100,000 candidates: 1.0000 and .998 for a sample
# shop's learned embeddings, 1.0000 and .9990 for vectors that are as much noise as cluster. 30,000
# searched and 1,200 reordered candidates found .9998 of both in twice the time, most of which is
# waiting for memory. Vectors without any structure, which no training makes, are found badly.
LEAVES_PER_ROOT = 2.0
SEARCHED_CANDIDATES = 15_000
SEARCHED_SHARE = 0.1
REORDERED = 800
REORDERED_PER_RESULT = 4
UPSERT_BATCH = 32
QUERY_BATCH = 64
REBUILD_SHARE = 0.5


def num_leaves(size: int) -> int:
    """Return how many leaves a tree of `size` candidates has."""
    return max(1, round(LEAVES_PER_ROOT * math.sqrt(size)))


def searched_leaves(leaves: int, size: int, limit: int) -> int:
    """Return how many of `leaves`, which hold `size` candidates, a search for `limit` looks at."""
    # A deep list needs more leaves: the searched ones must hold enough candidates.
    searched = max(SEARCHED_CANDIDATES, REORDERED_PER_RESULT * limit)
    share = min(1.0, max(SEARCHED_SHARE, searched / size))
    return max(1, round(share * leaves))


def num_reordered(limit: int) -> int:
    """Return for how many candidates a search for `limit` computes exact dot products."""
    return max(REORDERED, REORDERED_PER_RESULT * limit)


class ScannIndex:
    """A ScaNN tree over an `ExactIndex`, which holds the truth and is searched while it is small.

    ScaNN releases the GIL while it searches and does not guard a search against a change,
    so both take one lock: a search holds it for some .05 ms, a change for one short batch.
    Once changes amount to half of the candidates, the tree is built again in the background.
    """

    def __init__(self, table: ExactIndex, tree_from: int = TREE_FROM) -> None:
        self._table = table
        self._tree_from = max(tree_from, 200)
        self._searcher: Any = None
        self._leaves = 0
        self._built_size = 0
        self._changes = 0
        self._missed: set[int] | None = None
        self._rebuild: threading.Thread | None = None
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        if len(table) >= self._tree_from:
            self._build()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def is_exact(self) -> bool:
        """Never promised, though small tables are searched exactly."""
        return False

    def search(self, query_embeddings: Embeddings, limit: int) -> Neighbours:
        """Return the `limit` best candidates of queries float32 [num_queries, dimension]."""
        check_embeddings("query_embeddings", query_embeddings, self._table.dimension)
        check_limit(limit)
        if self._searcher is None:
            return self._table.search(query_embeddings, limit)
        queries = np.ascontiguousarray(query_embeddings)
        rows = np.full((len(queries), limit), UNKNOWN, dtype=np.int64)
        scores = np.full((len(queries), limit), -np.inf, dtype=np.float32)
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            with self._lock:
                searcher = self._searcher
                if searcher is None:
                    return self._table.search(query_embeddings, limit)
                found = [self._search_one(searcher, query, limit) for query in batch]
            for query, (own_rows, dots) in enumerate(found, start):
                valid = np.isfinite(dots)
                count = int(np.count_nonzero(valid))
                rows[query, :count] = own_rows[valid]
                scores[query, :count] = dots[valid]
        return Neighbours(rows, scores)

    def upsert(self, candidate_ids: Sequence[str], candidate_embeddings: Embeddings) -> None:
        """Insert or replace candidates; embeddings are float32 [n, dimension]."""
        check_candidates(candidate_ids, candidate_embeddings, self._table.dimension)
        with self._write_lock:
            self._table.upsert(candidate_ids, candidate_embeddings)
            self._apply_upsert(self._table.rows.rows_of(candidate_ids), candidate_embeddings)
            self._note_changes(len(candidate_ids))

    def delete(self, candidate_ids: Sequence[str]) -> None:
        """Remove candidates; an unknown id is no error."""
        with self._write_lock:
            rows = self._table.rows.known(dict.fromkeys(candidate_ids))
            self._table.delete(candidate_ids)
            self._apply_delete(rows)
            self._note_changes(len(rows))

    def rebalance(self) -> None:
        """Build the tree again from the present candidates, and wait for it."""
        with self._write_lock:
            self._start_rebuild()
            rebuild = self._rebuild
        if rebuild is not None:
            rebuild.join()

    def _search_one(
        self, searcher: Any, query: Embeddings, limit: int
    ) -> tuple[Rows, npt.NDArray[np.float32]]:
        limit = min(limit, len(searcher.docids))
        leaves = searched_leaves(self._leaves, self._built_size, limit)
        positions, dots = searcher.searcher.search(query, limit, num_reordered(limit), leaves)
        docids = map(searcher.docids.__getitem__, positions.tolist())
        return np.fromiter(docids, np.int64, len(positions)), dots

    def _apply_upsert(self, rows: Rows, embeddings: Embeddings) -> None:
        if self._missed is not None:
            self._missed.update(rows.tolist())
        if self._searcher is not None:
            self._upsert_in(self._searcher, rows, embeddings)

    def _apply_delete(self, rows: Rows) -> None:
        if self._missed is not None:
            self._missed.update(rows.tolist())
        if self._searcher is not None:
            self._delete_in(self._searcher, rows)

    def _upsert_in(self, searcher: Any, rows: Rows, embeddings: Embeddings) -> None:
        for start in range(0, len(rows), UPSERT_BATCH):
            batch = slice(start, start + UPSERT_BATCH)
            # ScaNN holds the GIL here: short batches let searches in between.
            with self._lock:
                searcher.upsert(rows[batch].tolist(), embeddings[batch], UPSERT_BATCH)

    def _delete_in(self, searcher: Any, rows: Rows) -> None:
        for row in rows.tolist():
            with self._lock:
                if row in searcher.docid_to_id:
                    searcher.delete([row])

    def _note_changes(self, count: int) -> None:
        self._changes += count
        if len(self._table) < self._tree_from // 2:
            self._searcher = None
        elif len(self._table) >= self._tree_from and (
            self._searcher is None or self._changes > REBUILD_SHARE * self._built_size
        ):
            self._start_rebuild()

    def _start_rebuild(self) -> None:
        if self._missed is None and len(self._table) >= self._tree_from:
            self._missed = set()
            self._rebuild = threading.Thread(target=self._rebuild_tree, name="scann-rebuild")
            self._rebuild.daemon = True
            self._rebuild.start()

    def _rebuild_tree(self) -> None:
        built: tuple[Any, int] | None = None
        try:
            rows, embeddings = self._table.candidates()
            # Meanwhile too many may have been deleted.
            if len(rows) >= self._tree_from // 2:
                built = _make_searcher(rows, embeddings)
        finally:
            # Where building fails the old tree goes on serving; the next change tries again.
            with self._write_lock:
                missed = np.array(sorted(self._missed or ()), dtype=np.int64)
                self._missed = None
                if built is not None and len(self._table) >= self._tree_from // 2:
                    searcher, leaves = built
                    embeddings, present = self._table.embeddings_of_rows(missed)
                    # Before it is searched, or what has changed would be as it was for a while.
                    self._upsert_in(searcher, missed[present], embeddings[present])
                    self._delete_in(searcher, missed[~present])
                    self._swap(searcher, leaves)

    def _build(self) -> None:
        self._swap(*_make_searcher(*self._table.candidates()))

    def _swap(self, searcher: Any, leaves: int) -> None:
        with self._lock:
            self._searcher, self._leaves = searcher, leaves
            self._built_size, self._changes = len(searcher.docids), 0


def _make_searcher(rows: Rows, embeddings: Embeddings) -> tuple[Any, int]:
    """Return a searcher whose docids are the rows, and how many leaves it has."""
    leaves = num_leaves(len(rows))
    searcher = build_searcher(
        embeddings,
        neighbours=REORDERED,
        leaves=leaves,
        searched_leaves=leaves,
        sample_size=min(len(rows), 200_000),
        reordered=REORDERED,
        rows=rows,
    )
    # So that no upsert has to wait while all vectors are copied into larger memory.
    searcher.reserve(round((1 + REBUILD_SHARE) * len(rows)) + 1)
    return searcher, leaves
