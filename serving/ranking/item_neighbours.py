"""What goes with each item: a sparse matrix of item-to-item weights."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.candidates import RowScores, Scores
from serving.item_rows import UNKNOWN, ItemRows, Rows


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourTable:
    """Weights as a bundle has them, in compressed sparse rows over its candidates.

    The neighbours of candidate i are neighbours[starts[i]:starts[i + 1]], int32, with weights
    float32. starts: int64 [num_items + 1]. days: a history's item counts exp(-age / days).
    """

    starts: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    days: float


class ItemNeighbours:
    """A table over the live rows of the catalogue.

    candidate_rows: int64 [num_items], the live row of each candidate of the bundle.
    """

    def __init__(self, table: NeighbourTable, candidate_rows: Rows, rows: ItemRows) -> None:
        self.days = table.days
        self._starts = table.starts
        self._rows = candidate_rows[table.neighbours]
        self._weights = table.weights
        self._candidates = np.full(len(rows), UNKNOWN, dtype=np.int64)
        self._candidates[candidate_rows] = np.arange(len(candidate_rows))

    def scores(self, rows: Rows, weights: Scores) -> RowScores:
        """Return the sum of weights[i] times the neighbours of rows[i], for every row."""
        known = (rows >= 0) & (rows < len(self._candidates))
        candidates = self._candidates[rows[known]]
        weights = weights[known][candidates >= 0]
        candidates = candidates[candidates >= 0]
        starts, ends = self._starts[candidates], self._starts[candidates + 1]
        lengths = ends - starts
        # Positions of all the entries, one slice after the other.
        offsets = np.cumsum(lengths) - lengths
        entries = np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
        return RowScores.summed(
            self._rows[entries], self._weights[entries] * np.repeat(weights, lengths)
        )
