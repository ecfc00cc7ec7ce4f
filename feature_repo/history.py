"""The pure fold of events into a user's history, shared by training and streaming.

A history is the newest `max_length` events of the *set* of a user's events,
ordered by (timestamp, event_id). That makes the fold commutative and
idempotent: late, repeated and replayed events end in the same history.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from feature_repo.schema import Event
from feature_repo.times import microseconds

DEFAULT_MAX_LENGTH = 128
EVENT_KEY = ("user_id", "event_id")
"""The columns that tell one event from another: two users may have events of one id."""


class HistoryEvent(NamedTuple):
    """One event as the model reads it. `timestamp` is in microseconds since 1970 UTC."""

    timestamp: int
    event_id: str
    item_id: str
    event_type: str
    value: float

    @classmethod
    def of(cls, event: Event) -> "HistoryEvent":
        """Keep of `event` what a history holds; a missing value is 0."""
        return cls(
            timestamp=microseconds(event.timestamp),
            event_id=event.event_id,
            item_id=event.item_id,
            event_type=event.event_type,
            value=0.0 if event.value is None else event.value,
        )


# Called for every event of a history with each append: `attrgetter` makes no Python frame.
_EVENT_ID: Callable[[HistoryEvent], str] = attrgetter("event_id")


@dataclass(frozen=True, slots=True)
class UserHistory:
    """A user's newest events, oldest first."""

    user_id: str
    events: tuple[HistoryEvent, ...] = ()


def append(
    history: UserHistory, event: HistoryEvent, max_length: int = DEFAULT_MAX_LENGTH
) -> UserHistory:
    """Return `history` with `event` sorted into place.

    Returns `history` itself, the same object, where the event changes nothing:
    it is known already, or it is older than the newest `max_length` events.
    `result is history` is therefore the test for "this event must not be counted
    again". A history may be longer, from when `max_length` was larger.
    """
    events = history.events
    if event.event_id in map(_EVENT_ID, events):
        return history
    position = bisect_left(events, event)
    if position <= len(events) - max_length:
        return history
    merged = (*events[:position], event, *events[position:])
    return UserHistory(history.user_id, merged[-max_length:])


def fold(
    history: UserHistory, events: Iterable[HistoryEvent], max_length: int = DEFAULT_MAX_LENGTH
) -> UserHistory:
    """Append every event in turn."""
    for event in events:
        history = append(history, event, max_length)
    return history
