"""What imports have added to the archive, and how it is appended to a log that is followed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from typing import NamedTuple, TypeVar

import polars as pl
from pydantic_core import from_json, to_json

from feature_repo.archive import Archive
from feature_repo.event_log import (
    ITEMS,
    USERS,
    GroupedLog,
    LogRecord,
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.log_records import encode_record
from feature_repo.schema import SCHEMA_VERSION, Item, User
from feature_repo.segment_names import LIVE
from streaming.archiver import GROUP
from streaming.decode import is_id
from streaming.milestones import NONE, Milestones

T = TypeVar("T")

MESSAGES_PER_APPEND = 2_000
_RECORDS_PER_POLL = 1_000


class Imports(NamedTuple):
    """The names of segments that imports have written."""

    events: list[str]
    users: list[str]
    items: list[str]

    @classmethod
    def of(cls, archive: Archive, passed: Milestones = NONE) -> "Imports":
        """Return those in the archive that are not among the milestones `passed`."""
        events = [each for each in archive.events.complete() if not each.startswith(LIVE)]
        users = [each for each in archive.user_changes.segments() if not each.startswith(LIVE)]
        items = [each for each in archive.item_changes.segments() if not each.startswith(LIVE)]
        return cls(
            [each for each in events if each not in passed.event_segments],
            [each for each in users if each not in passed.user_segments],
            [each for each in items if each not in passed.item_segments],
        )


class Unarchived(NamedTuple):
    """What the log holds beyond the position of the archiver: it is newer than the archive.

    users, items: the keys of its records. erased: the users whom it erases.
    """

    users: set[str | None]
    erased: set[str]
    items: set[str | None]

    @classmethod
    def of(cls, log: GroupedLog) -> "Unarchived":
        """Read it from the log. Read the archive afterwards: it is no older then."""
        return read_on(log, log.unread(GROUP, [USERS, ITEMS]), cls._among)

    @classmethod
    def _among(cls, records: Iterable[LogRecord]) -> "Unarchived":
        found = cls(set(), set(), set())
        for record in records:
            if record.source.topic == ITEMS:
                found.items.add(record.key)
                continue
            found.users.add(record.key)
            if record.value is None and record.key is not None and is_id(record.key):
                found.erased.add(record.key)
        return found

    def without_erased(self, scan: pl.LazyFrame) -> pl.LazyFrame:
        """Return the events of users who are not erased; the archiver will remove the others."""
        return scan.filter(~pl.col("user_id").is_in([*self.erased]))


def unread_keys(log: GroupedLog, topic: str, read: Mapping[TopicPartition, int]) -> set[str | None]:
    """Return the keys that `topic` has a record of from the positions `read` on.

    Read the state afterwards: it has what was read by then, and may have left the log.
    """
    starts = log.starts([topic])
    positions = {source: max(start, read.get(source, start)) for source, start in starts.items()}
    return {record.key for record in records_from(log, positions)}


def read_on(
    log: GroupedLog,
    unread: Mapping[TopicPartition, int],
    read: Callable[[Iterator[LogRecord]], T],
) -> T:
    """Return what `read` makes of all records from the position of the archiver on.

    unread: that position. It is asked for again, and `read` begins anew, where records have left
    the log meanwhile: they are archived by then. Raises `EventLogError`.
    """
    while True:
        try:
            return read(records_from(log, unread))
        except LostPositionError:
            before, unread = unread, log.unread(GROUP, sorted({source.topic for source in unread}))
            if unread == before:
                raise


def records_from(log: GroupedLog, positions: Mapping[TopicPartition, int]) -> Iterator[LogRecord]:
    """Yield all records from these positions on to the end, those of each partition in order.

    Raises `EventLogError`.
    """
    if not positions:
        return  # A broker that has no such topic yet.
    topics = sorted({topic for topic, _ in positions})
    with closing(log.consumer(None, topics, lambda _: positions)) as consumer:
        while records := consumer.poll(_RECORDS_PER_POLL, 0.0):
            yield from records


def imported_users(
    archive: Archive, segments: Collection[str], unarchived: Unarchived
) -> dict[str, User]:
    """Return, by id, the users of these segments of whom neither archive nor log has newer."""
    found = archive.users_of(segments)
    return {each.user_id: each for each in found if each.user_id not in unarchived.users}


def event_messages(scan: pl.LazyFrame) -> Iterator[list[Message]]:
    """Yield the events of a segment as records of the log, in their order, some at a time.

    They are not validated here: the readers of the log do that.
    """
    events = scan.sort("timestamp", "event_id").collect()
    for some in events.iter_slices(MESSAGES_PER_APPEND):
        yield [_event_message(row) for row in some.iter_rows(named=True)]


def _event_message(row: dict[str, object]) -> Message:
    document = {name: value for name, value in row.items() if value is not None}
    if "context" in document:
        # Not orjson: it may hold integers beyond 64 bits.
        document["context"] = from_json(str(document["context"]))
    return Message(str(row["user_id"]), to_json({"version": SCHEMA_VERSION, **document}))


def user_messages(users: Collection[User]) -> Iterator[list[Message]]:
    """Yield users as records of the log, some at a time."""
    messages = [Message(each.user_id, encode_record(each)) for each in users]
    for start in range(0, len(messages), MESSAGES_PER_APPEND):
        yield messages[start : start + MESSAGES_PER_APPEND]


def item_messages(items: Mapping[str, Item | None]) -> list[Message]:
    """Return items, by id, as records of the log; None is one that is deleted."""
    return [
        Message(item_id, None if item is None else encode_record(item))
        for item_id, item in items.items()
    ]
