"""The pure core of the stream: folds a batch of changes into the state before it.

No I/O and no clock: the same records in the same order give the same updates, in whatever batches
they arrive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.item_statistics import count, counted_at, nothing
from feature_repo.schema import Event, Item
from streaming.decode import Change, ItemRemoved, UserErased
from streaming.erasures import FOR_EVER, Moments, later, placed, seen_again
from streaming.stream_state import Slice
from streaming.updates import Updates


class Appended(NamedTuple):
    """A change, and when it was appended to the log (`moment` and `appended_at` of its record)."""

    change: Change
    moment: int
    appended_at: int | None = None


class Act(NamedTuple):
    """An event that was new, and its user's history right after it was appended."""

    history: UserHistory
    event: HistoryEvent


@dataclass(slots=True)
class Folded:
    """The result of folding a batch.

    updates: the new values of everything it touched. acts: the events that were new, in order.
    repeated: how many events were known already, or too old for a full history. erased: how many
    were appended before their user's erasure.
    """

    updates: Updates = field(default_factory=Updates)
    acts: list[Act] = field(default_factory=list)
    repeated: int = 0
    erased: int = 0


def process(
    changes: Sequence[Appended],
    before: Slice,
    max_length: int,
    keep_marks: int = 0,
    now: int = FOR_EVER,
) -> Folded:
    """Return what `changes`, in order, make of the state before them.

    max_length: events kept per user. keep_marks: an erasure's mark is dropped with the first event
    whose moment is more than this after it. now: a moment; an event of a later one, which a
    producer's clock has made, drops none.
    """
    folded = Folded()
    updates = folded.updates
    for change, moment, appended_at in changes:
        if isinstance(change, Event):
            if moment <= now:
                updates.outdated = max(updates.outdated, moment - keep_marks)
            _count(folded, change, moment, appended_at, before, max_length)
        elif isinstance(change, Item):
            updates.items[change.item_id] = change
        elif isinstance(change, ItemRemoved):
            updates.items[change.item_id] = None
        elif isinstance(change, UserErased):
            _erase(updates, change.user_id, moment, before)
        else:
            updates.users[change.user_id] = change
    return folded


def _count(
    folded: Folded,
    event: Event,
    moment: int,
    appended_at: int | None,
    before: Slice,
    max_length: int,
) -> None:
    updates, user, item = folded.updates, event.user_id, event.item_id
    if moment <= _erased(updates, user, before):
        folded.erased += 1
        return
    history, moments = _history(updates, user, before)
    entry = HistoryEvent.of(event)
    after = append(history, entry, max_length)
    if after is history:
        folded.repeated += 1
        again = seen_again(history, moments, entry.event_id, moment)
        if again != moments:
            updates.histories[user], updates.moments[user] = history, again
        return
    known = updates.statistics.get(item) or before.statistics.get(item) or nothing(item)
    updates.histories[user] = after
    updates.moments[user] = placed(history, moments, after, entry, moment)
    at = counted_at(entry.timestamp, appended_at)
    updates.statistics[item] = count(known, entry.event_type, at)
    folded.acts.append(Act(after, entry))


def _erase(updates: Updates, user: str, moment: int, before: Slice) -> None:
    erased = max(moment, _erased(updates, user, before))
    updates.erasures[user] = erased
    updates.users[user] = None
    history, moments = _history(updates, user, before)
    updates.histories[user], updates.moments[user] = later(history, moments, erased)


def _erased(updates: Updates, user: str, before: Slice) -> int:
    """Return the moment of the user's last erasure, and -1 where none is remembered."""
    return updates.erasures.get(user, before.erasures.get(user, -1))


def _history(updates: Updates, user: str, before: Slice) -> tuple[UserHistory, Moments]:
    for known in (updates, before):
        if user in known.histories:
            return known.histories[user], known.moments[user]
    return UserHistory(user), ()
