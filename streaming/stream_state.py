"""The stream's state of record: what events are folded into, and up to which positions they are.

It is written by partition of the log, with optimistic locking: a commit succeeds only over the
version that was read (ADR 0008). The errors:

    StateError              cannot be read or written now: trying again may help
    ├── StateConflict       another worker has written the partition since it was read
    ├── StateLost           what was written is gone: `riverrun rebuild` makes it again
    └── ForeignShop         the state, or the online store beside it, is another shop's
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from feature_repo.event_log import TopicPartition
from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Item
from streaming.additive import ADDITIVE, FOLD_IN
from streaming.erasures import Moments
from streaming.fold_in import FoldIn
from streaming.milestones import NONE, Milestones
from streaming.updates import Updates

IMPORTED = -1
"""The partition number of what came from the archive and not from the log."""

AGAIN = -2
"""The partition number whose list of unpushed keys holds what the online store has lost. Nothing
is committed to it. A commit takes the keys of its whole values off this list: they are on the list
of its own partition then."""

STORE_AGE = -3
"""The partition number whose version is the age of the online store (`store_watch`). Nothing else
is committed to it."""

HISTORY, ITEM, USER = "history", "item", "user"

Key = tuple[str, str]
"""A kind of value (history, item, user, or the name of an additive kind), and a user or item id."""


class StateError(Exception):
    """The state cannot be read or written. The message names the file or server."""


class StateConflict(StateError):  # noqa: N818 — what happened, not what went wrong
    """A commit was refused, and changed nothing: another one came first."""


class StateLost(StateError):  # noqa: N818 — as above
    """The state is not the one that was committed: it was emptied, removed or restored."""


class ForeignShop(StateError):  # noqa: N818 — as above
    """The state, or the online store beside it, is another shop's."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The state that a partition's batch is folded into, by id. Ids without a value are left out.

    version: how often the partition was committed. positions: the next offset to read, by topic.
    moments: when each event of a history was appended to the log. erasures: the moments of the
    partition's erasure marks. statistics, co_visitation, fold_in: this partition's part of the sum.
    """

    version: int
    positions: dict[str, int]
    histories: dict[str, UserHistory] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    erasures: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, ItemStatistics] = field(default_factory=dict)
    co_visitation: dict[str, CoVisitation] = field(default_factory=dict)
    fold_in: dict[str, FoldIn] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unpushed:
    """Values that the online store does not have yet, and the stamp of the commit each is of.

    Additive state is merged over all partitions.
    """

    updates: Updates = field(default_factory=Updates)
    stamps: dict[Key, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.stamps)


class StreamState(Protocol):
    """The state by partition, as a worker uses it, in one thread at a time. Raises `StateError`."""

    def load(self, partition: int, user_ids: Collection[str], item_ids: Collection[str]) -> Slice:
        """Return the partition's part of the state of these users and items."""
        ...

    def commit(
        self,
        partition: int,
        version: int,
        updates: Updates,
        positions: Mapping[str, int],
        milestones: Milestones = NONE,
    ) -> str:
        """Store new values, and the positions and milestones reached with them: all or nothing.

        positions: the next offset to read, by topic. On return the state is durable, and every key
        in `updates` is on the partition's list of unpushed keys. Returns the commit's stamp. Raises
        `StateConflict` where the partition's version is not `version`.
        """
        ...

    def unpushed(self, partition: int, limit: int = 2_000) -> Unpushed:
        """Return the newest values of up to `limit` keys of the partition's unpushed list."""
        ...

    def forget_pushed(self, partition: int, stamps: Mapping[Key, str]) -> None:
        """Take off the partition's list the keys whose pushed values are still the newest.

        stamps: of the pushed values, as `unpushed` returned them. A key whose value has changed
        since goes back on the list: the older value may have been pushed last. It gets a fresh
        stamp, because another worker may have taken it off under the old one, or be about to.
        """
        ...


class StateContents(Protocol):
    """Reads the state as a whole, over all partitions."""

    def partitions(self) -> list[int]:
        """Return the partitions that were ever committed."""
        ...

    def all_statistics(self, batch: int = 10_000) -> Iterator[list[ItemStatistics]]:
        """Yield the statistics of every item, merged over the partitions, in batches."""
        ...

    def all_co_visitation(self, batch: int = 1_000) -> Iterator[list[CoVisitation]]:
        """Yield the neighbours of every item, merged over the partitions, in batches."""
        ...

    def milestones(self) -> Milestones:
        """Return the milestones of all commits since the state was empty."""
        ...


class Outbox(Protocol):
    """All lists of unpushed keys together: the transactional outbox."""

    def count_unpushed(self) -> int:
        """Return how many keys are on the lists."""
        ...

    def list_all_again(self) -> int:
        """Put every key on the list of `AGAIN`, and return how many are on it.

        On return that is durable, and a worker that has read a list before takes no key off. The
        empty history of an erased user is listed too, so that it is deleted from the store again.
        """
        ...


class OpenState(StreamState, StateContents, Outbox, Protocol):
    """All of the state: what a worker, imports and a rebuild open."""

    def all_histories(self, batch: int = 1_000) -> Iterator[list[UserHistory]]:
        """Yield every history, in batches."""
        ...

    def items(self, item_ids: Collection[str]) -> dict[str, Item | None]:
        """Return those of these items that were ever committed; None where one was deleted."""
        ...

    def reset(self) -> None:
        """Empty the state. Versions grow, so that nothing read before can be committed after."""
        ...

    def close(self) -> None:
        """Release the file or connection."""
        ...


def positions_of(state: OpenState) -> dict[TopicPartition, int]:
    """Return the next offset to read of each partition of each topic."""
    return {
        TopicPartition(topic, partition): offset
        for partition in state.partitions()
        for topic, offset in state.load(partition, (), ()).positions.items()
    }


def remember(state: StreamState, milestones: Milestones) -> None:
    """Commit milestones, whatever others commit meanwhile. Raises `StateError`."""
    while True:
        version = state.load(IMPORTED, (), ()).version
        try:
            state.commit(IMPORTED, version, Updates(), {}, milestones=milestones)
        except StateConflict:
            continue  # Another process remembers something too, or takes up imports.
        return


def whole_keys(updates: Updates) -> list[Key]:
    """Return the keys of whole values: histories, items and users, which are no sums."""
    return [
        *((HISTORY, key) for key in updates.histories),
        *((ITEM, key) for key in updates.items),
        *((USER, key) for key in updates.users),
    ]


def whole_values(updates: Updates, stamp: str) -> Unpushed:
    """Return what a commit can push without reading the state: everything but the additive sums.

    Fold-in sums move their item's embedding, so the embedding of a changed item is not up to date
    before they are read. Their keys get a stamp that never matches, and stay on the list.
    """
    nothing: dict[str, Any] = {kind.name: {} for kind in ADDITIVE}
    own = replace(updates, **nothing)
    unmoved = [(FOLD_IN.name, key) for key in updates.items.keys() & updates.fold_in.keys()]
    stamps = dict.fromkeys(whole_keys(own), stamp) | dict.fromkeys(unmoved, "")
    return Unpushed(own, stamps)


def additive_keys(updates: Updates) -> list[Key]:
    """Return the keys whose values other partitions add to."""
    return [(kind.name, key) for kind in ADDITIVE for key in kind.of(updates)]


def stamp_of(partition: int, version: int | str) -> str:
    """Return the stamp of the commit that made `version`: no two commits have the same.

    Listing everything under `AGAIN` counts as a commit of everything: its version is a random
    token.
    """
    return f"{partition}:{version}"


def commit_of(stamp: str) -> str:
    """Return the commit's own stamp: without the "/TOKEN" of a key that was put back."""
    return stamp.partition("/")[0]
