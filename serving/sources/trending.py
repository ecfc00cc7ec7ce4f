"""What everybody acts on now."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.online_features import ItemStatistics
from feature_repo.schema import microseconds
from serving.item_rows import ItemRows, Rows, best
from serving.settings import ServingSettings
from serving.sources.candidate_source import Candidates, Context

HEAD = 2_000
"""So many rows are kept in order: a request that they answer looks at no others."""

WINDOW_MICROSECONDS = {"hour": 3_600e6, "day": 86_400e6, "week": 604_800e6}


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """The first rows, best first; `is_all` where no others count for anything."""

    rows: Rows
    keys: npt.NDArray[np.float64]
    is_all: bool


class TrendingSource:
    """Items by exponentially decayed count of weighted events.

    A count c as of time t is worth c * exp(-(now - t) / window) now. Its logarithm plus
    now / window, which is the same for all items, does not depend on now: that is kept, so
    that time passing changes no order and costs nothing.
    """

    name = "trending"

    def __init__(self, rows: ItemRows, settings: ServingSettings) -> None:
        self._rows = rows
        self._window = WINDOW_MICROSECONDS[settings.trending_window]
        self._window_name = settings.trending_window
        self._weights = settings.trending_weights
        self._keys = np.full(1024, -np.inf)
        self._head: _Head | None = None
        self._lock = threading.Lock()

    def update(self, statistics: Sequence[ItemStatistics]) -> None:
        """Take over the newest statistics of some items."""
        with self._lock:
            rows = self._rows.add([record.item_id for record in statistics])
            capacity = len(self._keys)
            if len(self._rows) > capacity:
                grown = np.full(max(2 * capacity, len(self._rows)), -np.inf)
                grown[:capacity] = self._keys
                self._keys = grown
            self._keys[rows] = [self._key(record) for record in statistics]
            self._head = None

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by what they count for now."""
        head = self._head or self._make_head()
        # The catalogue's view may be older than what trends.
        shown = head.rows < len(context.allowed)
        shown[shown] = context.allowed[head.rows[shown]]
        rows, keys = head.rows[shown][:count], head.keys[shown][:count]
        if len(rows) < count and not head.is_all:
            known = self._keys
            length = min(len(known), len(context.allowed))
            rows = np.flatnonzero(context.allowed[:length] & (known[:length] > -np.inf))
            rows = rows[best(known[rows], count)]
            keys = known[rows]
        now = microseconds(context.at) / self._window
        return Candidates(rows, np.exp(np.minimum(keys - now, 80.0)).astype(np.float32))

    def _make_head(self) -> _Head:
        with self._lock:
            counted = np.flatnonzero(self._keys > -np.inf)
            rows = counted[best(self._keys[counted], HEAD)]
            self._head = _Head(rows, self._keys[rows], is_all=len(rows) == len(counted))
            return self._head

    def _key(self, record: ItemStatistics) -> float:
        counts: tuple[float, ...] = getattr(record, self._window_name)
        pairs = zip(record.event_types, counts, strict=True)
        worth = sum(self._weights.get(event_type, 0.0) * count for event_type, count in pairs)
        return float(np.log(worth)) + record.timestamp / self._window if worth > 0 else -np.inf
