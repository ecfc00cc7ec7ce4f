"""Scored rows: what one source proposes for one request."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import Mask, Rows, best, places_among

Scores = npt.NDArray[np.float32]

_DENSE = 32
"""As long as row numbers are below so many times the number of entries, an array over all rows is
faster than sorting."""


def no_scores(rows: Rows) -> Scores:
    """Return zeros, as a source does that says nothing of rows it did not propose."""
    return np.zeros(len(rows), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Proposed rows, best first, with scores float32 [n] comparable within one source.

    score_of: gives the source's scores of any rows, proposed or not: float32 [n], 0 where it says
    nothing.
    """

    rows: Rows
    scores: Scores
    score_of: Callable[[Rows], Scores] = no_scores

    def __len__(self) -> int:
        return len(self.rows)


NOTHING = Candidates(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """Scores of some rows, 0 of all others. rows: distinct, ascending; scores: float32 [n]."""

    rows: Rows
    scores: Scores

    @classmethod
    def summed(cls, rows: Rows, scores: Scores) -> "RowScores":
        """Add up the scores of each row."""
        if len(rows) and int(rows.max()) < _DENSE * len(rows):
            totals = np.bincount(rows, scores)
            named = np.zeros(len(totals), dtype=np.bool_)
            named[rows] = True
            distinct = np.flatnonzero(named)
            return cls(distinct, totals[distinct].astype(np.float32))
        distinct, place = np.unique(rows, return_inverse=True)
        return cls(distinct, np.bincount(place, scores, len(distinct)).astype(np.float32))

    def of(self, rows: Rows) -> Scores:
        """Return float32 [len(rows)]."""
        if not len(self.rows):
            return no_scores(rows)
        places = places_among(self.rows, rows)
        return np.where(places >= 0, self.scores[places], np.float32(0))

    def candidates(self, allowed: Mask, count: int) -> Candidates:
        """Return the `count` best of the allowed rows whose score is positive."""
        # The request's view of the catalogue may be older than the scores, and have fewer rows.
        shown = (self.rows < len(allowed)) & (self.scores > 0)
        shown[shown] = allowed[self.rows[shown]]
        rows, scores = self.rows[shown], self.scores[shown]
        order = best(scores, count)
        return Candidates(rows[order], scores[order], self.of)
