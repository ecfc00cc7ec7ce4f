"""What goes with each item: a sparse matrix of item-to-item weights."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.candidates import RowScores, Scores
from serving.item_rows import UNKNOWN, ItemRows, Rows

Places = npt.NDArray[np.int64]
Contributions = npt.NDArray[np.float32]
"""float32 [num_history_items, num_rows]: what each item of a history adds to a row's score."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourTable:
    """Weights as a bundle has them, in compressed sparse rows over its candidates.

    The neighbours of candidate i are neighbours[starts[i]:starts[i + 1]], int32, with weights
    float32. starts: int64 [num_items + 1]. days, events: an item of a history counts as
    `UserActs.decayed` says.
    """

    starts: npt.NDArray[np.int64]
    neighbours: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    days: float
    events: float = 0.0


class ItemNeighbours:
    """A table over the live rows of the catalogue.

    candidate_rows: int64 [num_items], the live row of each candidate of the bundle.
    """

    def __init__(self, table: NeighbourTable, candidate_rows: Rows, rows: ItemRows) -> None:
        self.days, self.events = table.days, table.events
        self._starts = table.starts
        self._rows = candidate_rows[table.neighbours]
        self._weights = table.weights
        self._candidates = np.full(len(rows), UNKNOWN, dtype=np.int64)
        self._candidates[candidate_rows] = np.arange(len(candidate_rows))

    @property
    def num_rows(self) -> int:
        """A number above every row that has neighbours, or is one."""
        return len(self._candidates)

    def of(self, row: int) -> tuple[Rows, Scores]:
        """Return the neighbours of one row, distinct, and their weights; none of an unknown one."""
        candidate = self._candidates[row] if 0 <= row < len(self._candidates) else UNKNOWN
        if candidate < 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        entries = slice(self._starts[candidate], self._starts[candidate + 1])
        return self._rows[entries], self._weights[entries]

    def scores(self, rows: Rows, weights: Scores) -> RowScores:
        """Return the sum of weights[i] times the neighbours of rows[i], for every row."""
        _, neighbours, scores = self._entries(rows, weights)
        return RowScores.summed(neighbours, scores)

    def contributions(self, rows: Rows, weights: Scores, to: Rows) -> Contributions:
        """Return float32 [len(rows), len(to)]: what each of `rows` adds to the score of `to`."""
        places, neighbours, scores = self._entries(rows, weights)
        return placed_contributions(places, neighbours, scores, len(rows), to)

    def _entries(self, rows: Rows, weights: Scores) -> tuple[Places, Rows, Scores]:
        """Return all entries of `rows`: the place in `rows`, the neighbour, and what it gets."""
        places = np.flatnonzero((rows >= 0) & (rows < len(self._candidates)))
        candidates = self._candidates[rows[places]]
        places = places[candidates >= 0]
        candidates = candidates[candidates >= 0]
        starts, ends = self._starts[candidates], self._starts[candidates + 1]
        lengths = ends - starts
        # Positions of all the entries, one slice after the other.
        offsets = np.cumsum(lengths) - lengths
        entries = np.arange(lengths.sum()) + np.repeat(starts - offsets, lengths)
        scores = self._weights[entries] * np.repeat(weights[places], lengths)
        return np.repeat(places, lengths), self._rows[entries], scores


def placed_contributions(
    places: Places, neighbours: Rows, scores: Scores, num_rows: int, to: Rows
) -> Contributions:
    """Return float32 [num_rows, len(to)], the sum of scores[i] at places[i] and neighbours[i].

    to: distinct rows. Neighbours that are not among them are left out, and so is a place of -1.
    """
    found = np.zeros((num_rows, len(to)), dtype=np.float32)
    if len(to):
        order = np.argsort(to)
        at = np.minimum(np.searchsorted(to, neighbours, sorter=order), len(to) - 1)
        named = (to[order[at]] == neighbours) & (places >= 0)
        np.add.at(found, (places[named], order[at[named]]), scores[named])
    return found
