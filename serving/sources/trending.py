"""What everybody acts on now."""

import math
import operator
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import numpy.typing as npt

from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.online_features import ItemStatistics
from feature_repo.times import DAY, HOUR, WEEK, microseconds
from serving.candidates import Candidates, Scores
from serving.item_rows import ItemRows, Rows, best
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context

HEAD = 2_000
"""How many rows are kept in order: a request that they answer looks at no others."""

WINDOW_MICROSECONDS = {"hour": HOUR, "day": DAY, "week": WEEK}
_LENGTHS = tuple(WINDOW_MICROSECONDS.values())
_WINDOWS = np.array(_LENGTHS)
_PLACES = {window: place for place, window in enumerate(WINDOW_MICROSECONDS)}


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The first rows, best first; `is_all` where no others count for anything."""

    rows: Rows
    is_all: bool


@dataclass(frozen=True, slots=True)
class Span:
    """By what rows are compared: counts within which window, and to which power their lift."""

    window: str
    lift: float = 0.0

    def order(self, keys: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return float64 [n], by what rows with these keys [n, 3] are ordered."""
        place, baseline = self._places
        own = keys[:, place]
        if not self.lift:
            return own
        # -inf less itself is no number: nothing has happened to the row.
        rise = np.subtract(own, keys[:, baseline], where=own > -np.inf, out=own.copy())
        return np.asarray(own + self.lift * rise)

    def moment(self, at: datetime) -> float:
        """Return what of every key of `order` is due to the time alone.

        A key less this is the logarithm of what its row counts for at the moment.
        """
        window, baseline = (_LENGTHS[place] for place in self._places)
        now = microseconds(at) * (1 / window + self.lift * (1 / window - 1 / baseline))
        return now - self.lift * math.log(baseline / window)

    @property
    def _places(self) -> tuple[int, int]:
        """Of the window, and of the next longer one, which says what is usual."""
        place = _PLACES[self.window]
        # The last window has no longer one: what is usual over a week nobody has counted.
        return place, min(place + 1, len(_WINDOWS) - 1)


class TrendingSource:
    """Items by exponentially decayed count of weighted events, over one of three windows.

    A count c as of time t is worth c * exp(-(now - t) / window) now. Its logarithm plus
    now / window, which is the same for all items, does not depend on now: that is kept, so
    that time passing changes no order and costs nothing. What a count is worth is said as of the
    start of the minute: of one that is newer yet, a little more than the count.

    With a `trending_lift` above 0 a count is multiplied by that power of (count / expected), where
    the count within the next longer window says what is expected. The logarithm of this is a sum of
    such logarithms too.
    """

    name = "trending"

    def __init__(self, rows: ItemRows, settings: ServingSettings) -> None:
        self._rows = rows
        self._span = Span(settings.trending_window, settings.trending_lift)
        self._weights = settings.trending_weights
        self._keys = np.full((1024, len(_WINDOWS)), -np.inf)
        self._told = np.full(1024, np.iinfo(np.int64).min)
        self._heads: dict[Span, _Head] = {}
        self._lock = threading.Lock()

    def update(self, statistics: Sequence[ItemStatistics]) -> None:
        """Take over the statistics of some items, each unless a worker here has told newer ones."""
        with self._lock:
            self._take_over(self._rows_of(statistics), statistics)

    def tell(self, statistics: Sequence[ItemStatistics]) -> None:
        """Take over what a worker here has counted: what is read from a store may be older."""
        with self._lock:
            rows = self._rows_of(statistics)
            self._told[rows] = [record.timestamp for record in statistics]
            self._take_over(rows, statistics)

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by what they count for now."""
        return self.within(self._span, context, count)

    def within(self, span: Span, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by what they count for within a span."""
        head = self._head(span)
        # The catalogue's view may be older than what trends.
        shown = head.rows < len(context.allowed)
        shown[shown] = context.allowed[head.rows[shown]]
        rows = head.rows[shown][:count]
        if len(rows) < count and not head.is_all:
            keys = span.order(self._keys[: len(context.allowed)])
            rows = np.flatnonzero(context.allowed[: len(keys)] & (keys > -np.inf))
            rows = rows[best(keys[rows], count)]
        score_of = partial(self._score_of, span, context.minute)
        return Candidates(rows, score_of(rows), score_of)

    def head(self) -> Rows:
        """Return the `HEAD` rows that count most, best first."""
        return self._head(self._span).rows

    def leading(self, rows: Rows, count: int) -> Rows:
        """Return the `count` of `rows` that count most, best first; none that counts nothing."""
        keys = self._span.order(self._keys_of_rows(rows))
        counted = np.flatnonzero(keys > -np.inf)
        return rows[counted[best(keys[counted], count)]]

    def score_of(self, rows: Rows, at: datetime) -> Scores:
        """Return float32 [n], what each row counts for within `trending_window`, lifted."""
        return self._score_of(self._span, at, rows)

    def worth(self, rows: Rows, at: datetime) -> npt.NDArray[np.float32]:
        """Return float32 [n, 3], what each row counts for within the hour, day and week."""
        return _exponential(self._keys_of_rows(rows) - microseconds(at) / _WINDOWS)

    def _rows_of(self, statistics: Sequence[ItemStatistics]) -> Rows:
        """Return the rows of these items, for all of which there is room; under the lock."""
        rows = self._rows.add([record.item_id for record in statistics])
        capacity = len(self._keys)
        if len(self._rows) > capacity:
            more = max(capacity, len(self._rows) - capacity)
            self._keys = np.pad(self._keys, ((0, more), (0, 0)), constant_values=-np.inf)
            least = np.iinfo(np.int64).min
            self._told = np.pad(self._told, (0, more), constant_values=least)
        return rows

    def _take_over(self, rows: Rows, statistics: Sequence[ItemStatistics]) -> None:
        keys = np.array([self._keys_of(record) for record in statistics])
        moments = np.array([record.timestamp for record in statistics], np.int64)
        newest = moments >= self._told[rows]
        rows, keys = rows[newest], keys[newest]
        # What is read again and has not changed, such as by a replica, costs no request a look at
        # all rows.
        if len(rows) and not np.array_equal(self._keys[rows], keys):
            self._keys[rows] = keys
            self._heads = {}

    def _keys_of_rows(self, rows: Rows) -> npt.NDArray[np.float64]:
        keys = self._keys
        known = rows < len(keys)
        found = keys.take(np.where(known, rows, 0), axis=0)
        found[~known] = -np.inf
        return found

    def _score_of(self, span: Span, at: datetime, rows: Rows) -> Scores:
        return _exponential(span.order(self._keys_of_rows(rows)) - span.moment(at))

    def _head(self, span: Span) -> _Head:
        return self._heads.get(span) or self._make_head(span)

    def _make_head(self, span: Span) -> _Head:
        with self._lock:
            keys = span.order(self._keys)
            counted = np.flatnonzero(keys > -np.inf)
            rows = counted[best(keys[counted], HEAD)]
            head = _Head(rows, is_all=len(rows) == len(counted))
            self._heads[span] = head
            return head

    def _keys_of(self, record: ItemStatistics) -> list[float]:
        weights = [self._weights.get(each, UNNAMED_WEIGHT) for each in record.event_types]
        # Of two or three numbers a sum is faster than an array's.
        worth = (
            sum(map(operator.mul, weights, counts))
            for counts in (record.hour, record.day, record.week)
        )
        return [
            math.log(each) + record.timestamp / window if each > 0 else -math.inf
            for each, window in zip(worth, WINDOW_MICROSECONDS.values(), strict=True)
        ]


def _exponential(logarithms: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the numbers of logarithms, none of them beyond float32."""
    return np.exp(np.minimum(logarithms, 80.0)).astype(np.float32)
