"""The newest items: an answer for whoever nothing is known of."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from feature_repo.times import microseconds
from serving.candidates import Candidates, Scores
from serving.catalogue_columns import UNPUBLISHED
from serving.item_rows import Rows, best
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context

HEAD = 2_000
"""How many rows are kept in order: a request that they answer looks at no others."""


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The rows of `published` [num_rows] that have a time, the newest `HEAD` of them, in order."""

    published: npt.NDArray[np.int64]
    rows: Rows

    @classmethod
    def of(cls, published: npt.NDArray[np.int64]) -> "_Head":
        return cls(published, _newest(published, np.flatnonzero(published > UNPUBLISHED), HEAD))


class NewArrivalsSource:
    """Items by time of publication, newest first; future ones have not arrived yet.

    An item scores exp(-age / `new_arrival_days`), so that in a fusion those of the last weeks have
    nearly all of what this source says.
    """

    name = "new_arrivals"

    def __init__(self, settings: ServingSettings) -> None:
        self._age = timedelta(days=settings.new_arrival_days)
        # Of the last view, which is mostly that of the next request.
        self._head = _Head.of(np.empty(0, np.int64))

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows that have arrived, newest first."""
        published, now = context.view.published, microseconds(context.at)
        rows = self._newest_of(published)
        is_all = len(rows) < HEAD
        rows = rows[context.allowed[rows] & (published[rows] <= now)][:count]
        if len(rows) < count and not is_all:
            arrived = (published > UNPUBLISHED) & (published <= now)
            rows = _newest(published, np.flatnonzero(context.allowed & arrived), count)
        score_of = partial(self._score_of, published, now, microseconds(context.minute))
        return Candidates(rows, score_of(rows), score_of)

    def arrivals(self, context: Context) -> Rows:
        """Return the allowed rows that arrived within the last `new_arrival_days`."""
        published = context.view.published
        since = microseconds(context.minute - self._age)
        arrived = (published >= since) & (published <= microseconds(context.at))
        return np.flatnonzero(context.allowed & arrived)

    def _newest_of(self, published: npt.NDArray[np.int64]) -> Rows:
        head = self._head
        if head.published is not published:
            head = self._head = _Head.of(published)
        return head.rows

    def _score_of(
        self, published: npt.NDArray[np.int64], now: int, minute: int, rows: Rows
    ) -> Scores:
        at = published[rows]
        arrived = (at > UNPUBLISHED) & (at <= now)
        ages = np.where(arrived, np.maximum(minute - at, 0), np.inf) / (
            self._age / timedelta(microseconds=1)
        )
        return np.exp(-ages).astype(np.float32)


def _newest(published: npt.NDArray[np.int64], rows: Rows, count: int) -> Rows:
    """Return the `count` of `rows` that were published last, newest first."""
    return rows[best(published[rows].astype(np.float64), count)]
