"""A history by item: how often and when the user acted on each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from serving.item_rows import ItemRows, Rows, places_among

DAY = 86_400e6
"""Microseconds."""

Times = npt.NDArray[np.int64]
"""int64 [n], microseconds since 1970 UTC."""


@dataclass(frozen=True, slots=True, eq=False)
class UserActs:
    """What sources and ranking read of a history. Items that are not in the catalogue are left out.

    rows: distinct, ascending. counts: float32 [n], events on each; first, last: their times.
    newest: the time of the newest event; num_events, num_moments: events, and distinct times.
    """

    rows: Rows
    counts: npt.NDArray[np.float32]
    first: Times
    last: Times
    newest: int
    num_events: int
    num_moments: int

    @classmethod
    def of(cls, events: Sequence[HistoryEvent], rows: ItemRows) -> "UserActs":
        """Group `events`, in any order."""
        return cls.of_columns(
            rows.rows_of(event.item_id for event in events),
            np.fromiter((event.timestamp for event in events), np.int64, len(events)),
        )

    @classmethod
    def of_columns(cls, rows: Rows, timestamps: Times) -> "UserActs":
        """Group columns: rows int64 [num_events], -1 being unknown."""
        known = rows >= 0
        rows, timestamps = rows[known], timestamps[known]
        distinct, place, counts = np.unique(rows, return_inverse=True, return_counts=True)
        first = np.full(len(distinct), np.iinfo(np.int64).max)
        last = np.full(len(distinct), np.iinfo(np.int64).min)
        np.minimum.at(first, place, timestamps)
        np.maximum.at(last, place, timestamps)
        return cls(
            distinct,
            counts.astype(np.float32),
            first,
            last,
            int(timestamps.max()) if len(timestamps) else 0,
            len(timestamps),
            len(np.unique(timestamps)),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def decayed(self, days: float) -> npt.NDArray[np.float32]:
        """Return float32 [n], exp(-age / days) of each item's last event.

        Ages are relative to the newest event of all, so that time passing changes no list.
        """
        ages: npt.NDArray[np.float64] = (self.newest - self.last) / (days * DAY)
        return np.exp(-ages).astype(np.float32)

    def places_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the place of each row among `self.rows`, -1 where the user did not act on it."""
        return places_among(self.rows, rows)


NO_ACTS = UserActs.of_columns(np.empty(0, np.int64), np.empty(0, np.int64))
