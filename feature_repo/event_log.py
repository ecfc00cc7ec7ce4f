"""The contract of a durable, ordered, partitioned log (Kafka, or the embedded SQLite log)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

EVENTS = "events"
ITEMS = "items"
USERS = "users"
ITEM_EMBEDDINGS = "item-embeddings"
DEAD_LETTERS = "events.dead-letter"


class EventLogError(Exception):
    """The log cannot be read or written now: a full disk, a lock, a closed log."""


class TopicPartition(NamedTuple):
    """One ordered sequence of records."""

    topic: str
    partition: int


class Message(NamedTuple):
    """What is appended. A value of None is a tombstone: the key's record is deleted."""

    key: str | None
    value: bytes | None


class LogRecord(NamedTuple):
    """What is polled. `offset` grows by at least one from record to record of a partition."""

    source: TopicPartition
    offset: int
    key: str | None
    value: bytes | None


class LogConsumer(Protocol):
    """One reader. Not safe for use by two threads at once."""

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` next records; wait up to `timeout` seconds for the first."""
        ...

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Continue each partition from the given offset, whatever was committed."""
        ...

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Remember for the group the *next* offset to read of each partition."""
        ...

    def close(self) -> None:
        """Leave the group without committing."""
        ...


class EventLog(Protocol):
    """A log. Safe for use by many threads."""

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append in order. On return every message is durable; on an error none may be.

        Raises `EventLogError`.
        """
        ...

    def consumer(self, group: str | None, topics: Sequence[str]) -> LogConsumer:
        """Read `topics` from the group's committed offsets, or from the start without a group."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
