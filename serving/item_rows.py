"""Dense numbers for item ids, shared by the catalogue, the indexes and the sources."""

import threading
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
"""int64 [n] of row numbers."""

Mask = npt.NDArray[np.bool_]
"""bool [num_rows], indexed by row number."""

UNKNOWN = -1


class ItemRows:
    """Gives every item id a row number once; a number never changes its meaning.

    So a mask of the catalogue, the embeddings of a model and the counts of what trends are
    arrays over the same axis, and a request is array arithmetic. Safe for many threads.
    """

    def __init__(self, item_ids: Iterable[str] = ()) -> None:
        self._row_of: dict[str, int] = {}
        self._ids: npt.NDArray[np.object_] = np.empty(1024, dtype=object)
        self._lock = threading.Lock()
        self.add(list(item_ids))

    def __len__(self) -> int:
        return len(self._row_of)

    def add(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each id; an unknown one gets the next free row."""
        with self._lock:
            for item_id in item_ids:
                if item_id not in self._row_of:
                    row = len(self._row_of)
                    if row == len(self._ids):
                        self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
                    # The id is written first: whoever finds the row number can read it.
                    self._ids[row] = item_id
                    self._row_of[item_id] = row
            return self.rows_of(item_ids)

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """Return the row of each id, -1 where it is unknown."""
        row_of = self._row_of
        return np.array([row_of.get(item_id, UNKNOWN) for item_id in item_ids], dtype=np.int64)

    def known(self, item_ids: Iterable[str]) -> Rows:
        """Return the rows of those ids that are known, each once."""
        row_of = self._row_of
        found = {row_of.get(item_id, UNKNOWN) for item_id in item_ids}
        return np.array(sorted(found - {UNKNOWN}), dtype=np.int64)

    def ids_of(self, rows: Rows) -> npt.NDArray[np.object_]:
        """Return the id of each row."""
        ids: npt.NDArray[np.object_] = self._ids[rows]
        return ids


def best(scores: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.int64]:
    """Return the positions of the `count` highest scores, best first, earlier ones first in ties.

    So a longer result begins with a shorter one, and pages neither repeat nor miss any.
    """
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    if count < len(scores):
        last = np.partition(scores, len(scores) - count)[len(scores) - count]
        kept = scores > last
        kept[np.flatnonzero(scores == last)[: count - np.count_nonzero(kept)]] = True
        positions = np.flatnonzero(kept)
    else:
        positions = np.arange(len(scores))
    return positions[np.argsort(-scores[positions], kind="stable")]


def grouped(rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return an order in which `rows` ascend, and where in it each distinct row begins.

    So `rows[order[starts]]` are distinct, and `ufunc.reduceat(values[order], starts)` reduces the
    values of each row.
    """
    order = np.argsort(rows)
    ordered = rows[order]
    begins = np.ones(len(rows), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return order, np.flatnonzero(begins)


def places_among(rows: Rows, asked: Rows) -> npt.NDArray[np.int64]:
    """Return the place of each asked row among `rows`, distinct and ascending; -1 for none."""
    if not len(rows):
        return np.full(len(asked), UNKNOWN, dtype=np.int64)
    places = np.minimum(np.searchsorted(rows, asked), len(rows) - 1)
    return np.where(rows[places] == asked, places, UNKNOWN).astype(np.int64)
