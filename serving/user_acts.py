"""A history by item: how often and when the user acted on each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.history import HistoryEvent
from feature_repo.times import DAY, HOUR
from serving.item_rows import ItemRows, Rows, places_among

Times = npt.NDArray[np.int64]
"""int64 [n], microseconds since 1970 UTC."""

VISIT = 12 * HOUR
"""A user's acts on an item that follow each other sooner, as view, cart and purchase do, are one
visit to it. In microseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class UserActs:
    """What sources and ranking read of a history. Items that are not in the catalogue are left out.

    rows: distinct, ascending. counts: float32 [n], events on each; visits: float32 [n], of which so
    many follow no other sooner than `VISIT`; first, last: their times. newer: int64 [n], of the
    user's events so many came after the last one; of those of one moment, the later given is newer.
    newest: the time of the newest event; num_events, num_moments: events, and distinct times.
    """

    rows: Rows
    counts: npt.NDArray[np.float32]
    visits: npt.NDArray[np.float32]
    first: Times
    last: Times
    newer: npt.NDArray[np.int64]
    newest: int
    num_events: int
    num_moments: int

    @classmethod
    def of(cls, events: Sequence[HistoryEvent], rows: ItemRows) -> "UserActs":
        """Group `events`, in any order but for those of one moment."""
        return cls.of_columns(
            rows.rows_of(event.item_id for event in events),
            np.fromiter((event.timestamp for event in events), np.int64, len(events)),
        )

    @classmethod
    def of_columns(cls, rows: Rows, timestamps: Times) -> "UserActs":
        """Group columns: rows int64 [num_events], -1 being unknown."""
        known = rows >= 0
        rows, timestamps = rows[known], timestamps[known]
        if not len(rows):
            return NO_ACTS
        in_time = np.argsort(timestamps, kind="stable")
        newer = np.empty(len(rows), dtype=np.int64)
        newer[in_time] = np.arange(len(rows))[::-1]
        order = in_time[np.argsort(rows[in_time], kind="stable")]
        rows, ordered = rows[order], timestamps[order]
        begins = np.ones(len(rows), dtype=np.bool_)
        np.not_equal(rows[1:], rows[:-1], out=begins[1:])
        starts = np.flatnonzero(begins)
        begins[1:] |= np.diff(ordered) >= VISIT
        ends = np.append(starts[1:], len(rows))
        moments = timestamps[in_time]
        return cls(
            rows[starts],
            (ends - starts).astype(np.float32),
            np.add.reduceat(begins, starts, dtype=np.float32),
            ordered[starts],
            ordered[ends - 1],
            newer[order[ends - 1]],
            int(moments[-1]),
            len(timestamps),
            1 + int(np.count_nonzero(moments[1:] != moments[:-1])),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def decayed(self, days: float, events: float = 0.0) -> npt.NDArray[np.float32]:
        """Return float32 [n], exp(-age / days - newer / events) of each item's last event.

        Ages are relative to the newest event of all, so that time passing changes no list. events:
        0 says that it does not matter how many came after.
        """
        ages: npt.NDArray[np.float64] = (self.newest - self.last) / (days * DAY)
        if events:
            ages = ages + self.newer / events
        return np.exp(-ages).astype(np.float32)

    def places_of(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the place of each row among `self.rows`, -1 where the user did not act on it."""
        return places_among(self.rows, rows)


NO_ACTS = UserActs(
    rows=np.empty(0, np.int64),
    counts=np.empty(0, np.float32),
    visits=np.empty(0, np.float32),
    first=np.empty(0, np.int64),
    last=np.empty(0, np.int64),
    newer=np.empty(0, np.int64),
    newest=0,
    num_events=0,
    num_moments=0,
)
"""The acts of a user of whom nothing is known."""
