"""A history by item: how often and when the user acted on each."""

from collections.abc import Collection, Sequence
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

    rows: distinct, ascending. counts: float32 [n], events on each; last: the time of the last one.
    newer: int64 [n], how many of the user's events came after that; among events of one moment, the
    one given later is newer. newest: the time of the newest event; num_events, num_moments: how
    many events and distinct times there are.

    visits: float32 [n], how many of the events that take the item follow no other of them within
    `VISIT`; first_taken, last_taken: the times of the first and the last event that takes it, 0
    where there is none.
    """

    rows: Rows
    counts: npt.NDArray[np.float32]
    last: Times
    newer: npt.NDArray[np.int64]
    visits: npt.NDArray[np.float32]
    first_taken: Times
    last_taken: Times
    newest: int
    num_events: int
    num_moments: int

    @classmethod
    def of(
        cls, events: Sequence[HistoryEvent], rows: ItemRows, taking: Collection[str] = ()
    ) -> "UserActs":
        """Group `events`, in any order but for those of one moment.

        taking: the types of event that take an item; empty says that every event does.
        """
        return cls.of_columns(
            rows.rows_of(event.item_id for event in events),
            np.fromiter((event.timestamp for event in events), np.int64, len(events)),
            np.array([event.event_type in taking for event in events], np.bool_)
            if taking
            else None,
        )

    @classmethod
    def of_columns(
        cls, rows: Rows, timestamps: Times, taking: npt.NDArray[np.bool_] | None = None
    ) -> "UserActs":
        """Group columns: rows int64 [num_events], -1 being unknown.

        taking: bool [num_events], which of them take the item; None says that all do.
        """
        known = rows >= 0
        rows, timestamps = rows[known], timestamps[known]
        if not len(rows):
            return NO_ACTS
        in_time = np.argsort(timestamps, kind="stable")
        newer = np.empty(len(rows), dtype=np.int64)
        newer[in_time] = np.arange(len(rows))[::-1]
        order = in_time[np.argsort(rows[in_time], kind="stable")]
        rows, ordered = rows[order], timestamps[order]
        begins = _begins(rows)
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(rows))
        taken = np.ones(len(rows), np.bool_) if taking is None else taking[known][order]
        moments = timestamps[in_time]
        return cls(
            rows[starts],
            (ends - starts).astype(np.float32),
            ordered[ends - 1],
            newer[order[ends - 1]],
            *_takings(np.cumsum(begins)[taken] - 1, ordered[taken], len(starts)),
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


def _takings(
    places: npt.NDArray[np.int64], timestamps: Times, num_items: int
) -> tuple[npt.NDArray[np.float32], Times, Times]:
    """Return visits, first and last time of each of `num_items`, 0 where none is.

    places: int64 [n], ascending, which of them was taken; timestamps: ascending within each.
    """
    visits = np.zeros(num_items, np.float32)
    first, last = np.zeros(num_items, np.int64), np.zeros(num_items, np.int64)
    if len(places):
        begins = _begins(places)
        starts = np.flatnonzero(begins)
        begins[1:] |= np.diff(timestamps) >= VISIT
        found = places[starts]
        visits[found] = np.add.reduceat(begins, starts, dtype=np.float32)
        first[found] = timestamps[starts]
        last[found] = timestamps[np.append(starts[1:], len(places)) - 1]
    return visits, first, last


def _begins(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return bool [n], which numbers differ from the one before; there is at least one."""
    begins = np.ones(len(numbers), dtype=np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=begins[1:])
    return begins


NO_ACTS = UserActs(
    rows=np.empty(0, np.int64),
    counts=np.empty(0, np.float32),
    last=np.empty(0, np.int64),
    newer=np.empty(0, np.int64),
    visits=np.empty(0, np.float32),
    first_taken=np.empty(0, np.int64),
    last_taken=np.empty(0, np.int64),
    newest=0,
    num_events=0,
    num_moments=0,
)
"""The acts of a user of whom nothing is known."""
