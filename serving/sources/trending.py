"""What everybody acts on now."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import numpy.typing as npt

from feature_repo.online_features import ItemStatistics
from feature_repo.schema import microseconds
from serving.candidates import Candidates, Scores
from serving.item_rows import ItemRows, Rows, best
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context

HEAD = 2_000
"""So many rows are kept in order: a request that they answer looks at no others."""

WINDOW_MICROSECONDS = {"hour": 3_600e6, "day": 86_400e6, "week": 604_800e6}
_WINDOWS = np.array(list(WINDOW_MICROSECONDS.values()))


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The first rows, best first; `is_all` where no others count for anything."""

    rows: Rows
    is_all: bool


class TrendingSource:
    """Items by exponentially decayed count of weighted events, over one of three windows.

    A count c as of time t is worth c * exp(-(now - t) / window) now. Its logarithm plus
    now / window, which is the same for all items, does not depend on now: that is kept, so
    that time passing changes no order and costs nothing.
    """

    name = "trending"

    def __init__(self, rows: ItemRows, settings: ServingSettings) -> None:
        self._rows = rows
        self._window = list(WINDOW_MICROSECONDS).index(settings.trending_window)
        self._weights = settings.trending_weights
        self._keys = np.full((1024, len(_WINDOWS)), -np.inf)
        self._head: _Head | None = None
        self._lock = threading.Lock()

    def update(self, statistics: Sequence[ItemStatistics]) -> None:
        """Take over the newest statistics of some items."""
        with self._lock:
            rows = self._rows.add([record.item_id for record in statistics])
            capacity = len(self._keys)
            if len(self._rows) > capacity:
                grown = np.full((max(2 * capacity, len(self._rows)), len(_WINDOWS)), -np.inf)
                grown[:capacity] = self._keys
                self._keys = grown
            if len(rows):
                self._keys[rows] = [self._keys_of(record) for record in statistics]
            self._head = None

    def worth(self, rows: Rows, at: datetime) -> npt.NDArray[np.float32]:
        """Return float32 [n, 3], what each row counts for within the hour, day and week."""
        return self._worth(rows, at, slice(None))

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by what they count for now."""
        head = self._head or self._make_head()
        # The catalogue's view may be older than what trends.
        shown = head.rows < len(context.allowed)
        shown[shown] = context.allowed[head.rows[shown]]
        rows = head.rows[shown][:count]
        if len(rows) < count and not head.is_all:
            keys = self._keys[: len(context.allowed), self._window]
            rows = np.flatnonzero(context.allowed[: len(keys)] & (keys > -np.inf))
            rows = rows[best(keys[rows], count)]
        return Candidates(
            rows, self.score_of(rows, context.at), partial(self.score_of, at=context.at)
        )

    def head(self) -> Rows:
        """Return the `HEAD` rows that count most, best first."""
        return (self._head or self._make_head()).rows

    def score_of(self, rows: Rows, at: datetime) -> Scores:
        """Return float32 [n], what each row counts for within `trending_window`."""
        return self._worth(rows, at, slice(self._window, self._window + 1))[:, 0]

    def _worth(self, rows: Rows, at: datetime, windows: slice) -> npt.NDArray[np.float32]:
        """Return float32 [n, len(windows)]."""
        keys, now = self._keys[:, windows], microseconds(at) / _WINDOWS[windows]
        known = rows < len(keys)
        kept = np.where(known[:, None], keys[np.where(known, rows, 0)], -np.inf)
        return np.exp(np.minimum(kept - now, 80.0)).astype(np.float32)

    def _make_head(self) -> _Head:
        with self._lock:
            keys = self._keys[:, self._window]
            counted = np.flatnonzero(keys > -np.inf)
            rows = counted[best(keys[counted], HEAD)]
            self._head = _Head(rows, is_all=len(rows) == len(counted))
            return self._head

    def _keys_of(self, record: ItemStatistics) -> npt.NDArray[np.float64]:
        weights = np.array([self._weights.get(each, 0.0) for each in record.event_types])
        worth = np.array([record.hour, record.day, record.week]) @ weights
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.maximum(worth, 0)) + record.timestamp / _WINDOWS)
