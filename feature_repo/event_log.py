"""The contract of a durable, ordered, partitioned log (Kafka, or the embedded SQLite log)."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

EVENTS = "events"
ITEMS = "items"
USERS = "users"
ITEM_EMBEDDINGS = "item-embeddings"
DEAD_LETTERS = "events.dead-letter"
CO_PARTITIONED = (EVENTS, ITEMS, USERS)
"""What producers write. A worker owns one partition number of all of these at once."""


class EventLogError(Exception):
    """The log cannot be read or written now: a full disk, a lock, a closed log."""


class LostPositionError(EventLogError):
    """A position lies outside its partition, so trying again is no help.

    The log was replaced, or its retention deleted what was not read yet.
    """


class TopicPartition(NamedTuple):
    """One ordered sequence of records."""

    topic: str
    partition: int


Positions = Callable[[Mapping[TopicPartition, int | None]], Mapping[TopicPartition, int]]
"""Gives the offsets at which to continue newly assigned partitions; it may leave some out.

It is called with the group's committed offset of each of them, None where there is none.
"""


class Message(NamedTuple):
    """What is appended. A value of None is a tombstone: the key's record is deleted.

    A key that was polled can always be appended again.
    """

    key: str | None
    value: bytes | None


class LogRecord(NamedTuple):
    """What is polled. `offset` grows by at least one from record to record of a partition.

    Key bytes that are no UTF-8 are in `key` as Python's surrogate escapes.

    moment: when it was appended, by a clock that all topics share and no producer sets: what was
    appended earlier has no larger one. A broker's are milliseconds, which records can have in
    common; the embedded log's are its offsets.
    appended_at: the same in milliseconds since 1970 UTC, by the log's clock; None where it is not
    known. It is the same for all readers of the record.
    """

    source: TopicPartition
    offset: int
    key: str | None
    value: bytes | None
    moment: int = 0
    appended_at: int | None = None

    @property
    def size(self) -> int:
        """The bytes of its value."""
        return len(self.value or b"")


class LogReader(Protocol):
    """Gives records one after another. Not safe for use by two threads at once."""

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` next records; wait up to `timeout` seconds for the first.

        An empty list means that the end was reached or, with a group, that no partitions are
        assigned. Raises `EventLogError` where the log cannot be read, and whatever the consumer's
        `positions` raises: the next poll calls it again.
        """
        ...

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return what `poll` would, for a caller who already holds records that should not wait.

        Never waits longer than `timeout` seconds, so an empty list does not mean that the end was
        reached. Raises `EventLogError`, as the next poll does then.
        """
        ...


class LogConsumer(LogReader, Protocol):
    """A reader of topics that can seek, and commit its positions.

    With a group it shares the partitions with the group's other consumers: only `poll` assigns
    partitions to it; `poll` and `more` revoke them. Without a group it has all of them.
    """

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions assigned to this consumer by its last poll. Safe to read in any thread."""
        ...

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Continue at the given offsets; partitions that are not assigned now are left out.

        Raises `LostPositionError`, at the latest by the next poll.
        """
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit, for the group, the *next* offset to read of each partition.

        Partitions that are not assigned any more are left out: another consumer reads them now.
        """
        ...

    def close(self) -> None:
        """Leave the group without committing."""
        ...


class EventLog(Protocol):
    """A log. Safe for use by many threads."""

    @property
    def topics_share_an_order(self) -> bool:
        """Whether a consumer of several topics gets their records as they were appended.

        Otherwise each partition has an order of its own.
        """
        ...

    def append(self, topic: str, messages: Sequence[Message]) -> dict[TopicPartition, int]:
        """Append in order; return, by partition, the offset after the last message it got.

        On return every message is durable; on an error each of them may be, or not.
        Raises `EventLogError`.
        """
        ...

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> LogConsumer:
        """Read `topics` as a member of `group`, or every partition on its own without a group.

        positions: is asked for the partitions that a poll assigns. A partition it leaves out
        continues where the group committed, or at the start.
        """
        ...

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each partition the offset after its newest record. Raises `EventLogError`."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...


class GroupedLog(EventLog, Protocol):
    """A log that tells its offsets, and those of a group, without joining the group."""

    @property
    def is_shared_out(self) -> bool:
        """Whether a group's members share the partitions, so that several may read at once."""
        ...

    def unread(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return, for each partition, the first offset that `group` has not committed.

        It is the log's start where that is later. Raises `EventLogError`.
        """
        ...

    def starts(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return, for each partition, an offset that none of its records is before.

        On a broker no consumer can begin before it. Raises `EventLogError`.
        """
        ...


@runtime_checkable
class TrimmableLog(Protocol):
    """A log that keeps its records until they are trimmed. A broker has its own retention."""

    def trim(self, topic: str, groups: Sequence[str]) -> int:
        """Delete the records of `topic` that all of `groups` have committed; return how many.

        Raises `EventLogError`, as the others do.
        """
        ...

    def compact(self, tombstones_before: float) -> int:
        """Keep the newest record of each key of the item changelog; return how many went.

        Tombstones appended before `tombstones_before` (seconds since 1970) go too.
        """
        ...

    def begin_after(self, offset: int) -> None:
        """Never assign an offset up to `offset` again."""
        ...


@runtime_checkable
class ForeignFedLog(Protocol):
    """A log that others write to as well, who may put a key into the wrong partition."""

    @property
    def misplaced(self) -> Mapping[str, int]:
        """Return, by topic, how many records were found in another partition than their key's."""
        ...
