"""The pure core of the stream: a batch of changes and the state before it → what changes.

No input or output, no clock: the same records in the same order give the same updates, in
whatever batches they arrive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.item_statistics import count, nothing
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Event, Item, User
from streaming.decode import Change, ItemRemoved, UserErased
from streaming.fold_in import FoldIn


class Act(NamedTuple):
    """An event that was new, and its user's history from then on, which holds it."""

    history: UserHistory
    event: HistoryEvent


@dataclass(slots=True)
class Updates:
    """The new values of everything a batch touched; None where something was deleted.

    A history without events is one that was erased. acts: the events that were new, in their
    order; repeated: how many changed nothing.
    """

    histories: dict[str, UserHistory] = field(default_factory=dict)
    statistics: dict[str, ItemStatistics] = field(default_factory=dict)
    co_visitation: dict[str, CoVisitation] = field(default_factory=dict)
    fold_in: dict[str, FoldIn] = field(default_factory=dict)
    items: dict[str, Item | None] = field(default_factory=dict)
    users: dict[str, User | None] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    repeated: int = 0

    def add(self, newer: "Updates") -> None:
        """Put `newer` values over these; what they were made of is not kept."""
        self.histories.update(newer.histories)
        self.statistics.update(newer.statistics)
        self.co_visitation.update(newer.co_visitation)
        self.fold_in.update(newer.fold_in)
        self.items.update(newer.items)
        self.users.update(newer.users)

    def __bool__(self) -> bool:
        return bool(
            self.histories
            or self.statistics
            or self.co_visitation
            or self.fold_in
            or self.items
            or self.users
        )


def process(
    changes: Sequence[Change],
    histories: Mapping[str, UserHistory],
    statistics: Mapping[str, ItemStatistics],
    max_length: int,
) -> Updates:
    """Return what `changes` do, in their order, to the state before them.

    histories, statistics: the state of the users and items named by `changes`; one that is
    missing is new. max_length: events kept per user.
    """
    updates = Updates()
    for change in changes:
        if isinstance(change, Event):
            _count(updates, change, histories, statistics, max_length)
        elif isinstance(change, Item):
            updates.items[change.item_id] = change
        elif isinstance(change, ItemRemoved):
            updates.items[change.item_id] = None
        elif isinstance(change, UserErased):
            updates.users[change.user_id] = None
            updates.histories[change.user_id] = UserHistory(change.user_id)
        else:
            updates.users[change.user_id] = change
    return updates


def _count(
    updates: Updates,
    event: Event,
    histories: Mapping[str, UserHistory],
    statistics: Mapping[str, ItemStatistics],
    max_length: int,
) -> None:
    user, item = event.user_id, event.item_id
    before = updates.histories.get(user) or histories.get(user) or UserHistory(user)
    entry = HistoryEvent.of(event)
    after = append(before, entry, max_length)
    if after is before:
        updates.repeated += 1
        return
    known = updates.statistics.get(item) or statistics.get(item) or nothing(item)
    updates.histories[user] = after
    updates.statistics[item] = count(known, entry.event_type, entry.timestamp)
    updates.acts.append(Act(after, entry))
