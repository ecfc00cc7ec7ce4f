"""The embedded log: one SQLite file, many threads and processes, no server.

One table holds all topics, so an offset is a place in the order of everything that was
appended, and partition 0 is the only one. Callers that append at the same time share one
transaction, and so one fsync.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from feature_repo.event_log import (
    ITEM_EMBEDDINGS,
    EventLogError,
    LogRecord,
    LostPositionError,
    Message,
    Positions,
    TopicPartition,
)
from feature_repo.shop_file import with_way_on

BUSY_SECONDS = 10.0
# Appends by another process are noticed by looking; 25 ms keeps "within 50 ms" on a busy machine.
LOOK_SECONDS = 0.025
ROWS_PER_DELETE = 2_000
WITHOUT_IT = (
    "Remove it, and `riverrun rebuild` goes on from the archive: what is not there is lost."
)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS records (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, even after deletion
    topic TEXT NOT NULL,
    appended_at INTEGER NOT NULL,  -- milliseconds since 1970 UTC
    key TEXT,
    value BLOB
);
CREATE INDEX IF NOT EXISTS records_of_topic ON records (topic, offset);
CREATE INDEX IF NOT EXISTS newest_change ON records (key, offset)
    WHERE topic = '{ITEM_EMBEDDINGS}';
CREATE TABLE IF NOT EXISTS committed (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic)
) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO records (topic, appended_at, key, value) VALUES (?, ?, ?, ?)"
_COMMIT = "INSERT OR REPLACE INTO committed VALUES (?, ?, ?)"
# Of each key the newest record stays; of deleted keys the tombstone, until it is old.
_SUPERSEDED = f"""
DELETE FROM records WHERE offset IN (
    SELECT older.offset FROM records AS older
    WHERE older.topic = '{ITEM_EMBEDDINGS}' AND EXISTS (
        SELECT 1 FROM records AS newer
        WHERE newer.topic = '{ITEM_EMBEDDINGS}' AND newer.key = older.key
        AND newer.offset > older.offset)
    LIMIT ?)
"""
_OLD_TOMBSTONES = f"""
DELETE FROM records WHERE offset IN (
    SELECT offset FROM records
    WHERE topic = '{ITEM_EMBEDDINGS}' AND value IS NULL AND appended_at < ? LIMIT ?)
"""
_ARCHIVED = """
DELETE FROM records WHERE offset IN (
    SELECT offset FROM records WHERE topic = ? AND offset < ? ORDER BY offset LIMIT ?)
"""


class _Write:
    """Rows that one caller wants written in one transaction."""

    def __init__(self, statement: str, rows: Sequence[Sequence[Any]], *, durable: bool) -> None:
        self.statement = statement
        self.rows = rows
        self.durable = durable
        self.done = False
        self.error: EventLogError | None = EventLogError("the write was interrupted.")
        self.changed = 0


class SqliteLog:
    """A `GroupedLog` and `TrimmableLog` in the SQLite file `path`, created where it is missing.

    `clock` gives seconds since 1970 for the age of records.
    Raises `EventLogError` where the file cannot be opened or is no log.
    """

    topics_share_an_order = True
    is_shared_out = False

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._condition = threading.Condition()
        self._pending: list[_Write] = []
        self._writing = False
        self._appends = 0
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(path)
            self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
            self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            reason = with_way_on(error, WITHOUT_IT)
            raise EventLogError(f"log {path}: cannot be opened: {reason}") from error

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        """Append in order; on return every message is on disk, on an error none is."""
        now = int(self._clock() * 1000)
        rows = [(topic, now, message.key, message.value) for message in messages]
        if rows:
            self._submit(_Write(_INSERT, rows, durable=True))

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> "SqliteConsumer":
        """Read `topics`. Every consumer has the whole log: a group should have one at a time."""
        return SqliteConsumer(self, group, topics, positions or (lambda _: {}))

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each topic the offset after its newest record."""
        query = "SELECT MAX(offset) FROM records WHERE topic = ?"
        with self._reading(), closing(_connect(self._path)) as connection:
            newest = {topic: connection.execute(query, (topic,)).fetchone()[0] for topic in topics}
        return {TopicPartition(topic, 0): (at or 0) + 1 for topic, at in newest.items()}

    def unread(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each topic the first offset that the group has not committed."""
        return {TopicPartition(topic, 0): self.committed(group, topic) for topic in topics}

    def committed(self, group: str, topic: str) -> int:
        """Return the next offset the group reads of `topic`; 0 where it committed nothing."""
        query = "SELECT next_offset FROM committed WHERE consumer_group = ? AND topic = ?"
        with self._reading(), closing(_connect(self._path)) as connection:
            row = connection.execute(query, (group, topic)).fetchone()
        return 0 if row is None else int(row[0])

    def trim(self, topic: str, groups: Sequence[str]) -> int:
        """Delete the records of `topic` that all of `groups` have committed; return how many.

        A group that has committed nothing keeps everything.
        """
        before = min((self.committed(group, topic) for group in groups), default=0)
        return self._delete(_ARCHIVED, (topic, before))

    def compact(self, tombstones_before: float) -> int:
        """Keep the newest record of each key of the item changelog; return how many went.

        Tombstones appended before `tombstones_before` (seconds since 1970) go too.
        """
        superseded = self._delete(_SUPERSEDED, ())
        return superseded + self._delete(_OLD_TOMBSTONES, (int(tombstones_before * 1000),))

    def begin_after(self, offset: int) -> int:
        """Give no offset up to `offset` any more; return the first one that the log can hold.

        For a log that was removed: others remember offsets that the new one would give again. What
        it holds already was appended after those where no group has read any of it yet, and gets
        offsets beyond `offset` too. One that is longer, and was read, stays as it is.
        """
        try:
            with closing(_connect(self._path)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                last = _last_offset(connection)
                was_read = connection.execute("SELECT 1 FROM committed LIMIT 1").fetchone()
                if not was_read and (_first_offset(connection) or offset + 1) <= offset:
                    # So far that no two records have one offset meanwhile.
                    distance = max(last, offset)
                    connection.execute("UPDATE records SET offset = offset + ?", (distance,))
                    last += distance
                last = max(last, offset)
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
                connection.execute("INSERT INTO sqlite_sequence VALUES ('records', ?)", (last,))
                first = _first_offset(connection) or last + 1
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise EventLogError(f"log {self._path}: nothing was written: {error}.") from error
        return first

    def close(self) -> None:
        """Close the file. Consumers see an `EventLogError` from then on."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._writing)
            self._condition.notify_all()
        self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise EventLogError(f"log {self._path}: cannot be read: {error}.") from error

    def _delete(self, statement: str, arguments: tuple[Any, ...]) -> int:
        total = 0
        while True:
            # Few rows at a time: appends wait for each transaction.
            write = _Write(statement, [(*arguments, ROWS_PER_DELETE)], durable=False)
            self._submit(write)
            total += write.changed
            if write.changed < ROWS_PER_DELETE:
                return total

    def _submit(self, write: _Write) -> None:
        """Write with all that waits: the first to come writes for everyone who queued behind."""
        with self._condition:
            if self._closed:
                raise EventLogError(f"log {self._path}: is closed.")
            self._pending.append(write)
            self._condition.wait_for(lambda: write.done or not self._writing)
            if not write.done:
                group, self._pending = self._pending, []
                self._writing = True
            else:
                group = []
        if group:
            try:
                self._write(group)
            finally:
                with self._condition:
                    for each in group:
                        each.done = True
                    self._writing = False
                    self._appends += 1
                    self._condition.notify_all()
        if write.error is not None:
            raise write.error

    def _write(self, group: Sequence[_Write]) -> None:
        try:
            self._transaction(group)
            for write in group:
                write.error = None
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            if len(group) == 1:
                reason = EventLogError(f"log {self._path}: nothing was written: {error}.")
                reason.__cause__ = error
                group[0].error = reason
                return
            # One caller's bad record must not fail the others: each on its own now.
            for write in group:
                self._write([write])

    def _transaction(self, group: Sequence[_Write]) -> None:
        # A lost commit of offsets is a replay, which is harmless: it waits for no fsync.
        level = "FULL" if any(write.durable for write in group) else "NORMAL"
        self._connection.execute(f"PRAGMA synchronous = {level}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for write in group:
                write.changed = self._connection.executemany(write.statement, write.rows).rowcount
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _seen(self) -> int:
        return self._appends

    def _wait(self, seen: int, seconds: float) -> None:
        """Return after an append in this process that came after `seen`, or after `seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._appends != seen or self._closed, seconds)
            if self._closed:
                raise EventLogError(f"log {self._path}: is closed.")


class SqliteConsumer:
    """A `LogConsumer` of a `SqliteLog`. Its partitions are assigned by the first poll."""

    def __init__(
        self, log: SqliteLog, group: str | None, topics: Sequence[str], positions: Positions
    ) -> None:
        self._log = log
        self._group = group
        self._topics = topics
        self._stored_positions = positions
        self._positions: dict[str, int] = {}
        with log._reading():
            self._connection = _connect(log._path)
        self._version = -1

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """All of its topics, once the first poll has placed them."""
        return frozenset(TopicPartition(topic, 0) for topic in self._positions)

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` next records in the order they were appended."""
        deadline = time.monotonic() + timeout
        if not self._positions:
            self._assign()
        while True:
            seen = self._log._seen()
            records = self._read(max_records)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            self._log._wait(seen, min(left, LOOK_SECONDS))

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Continue from the given offsets.

        Raises `LostPositionError` for an offset beyond the end: the log was replaced.
        """
        self._positions = self._positions | self._known(positions, self._positions)
        self._version = -1

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Remember for the group the next offset to read of each topic."""
        if self._group is None:
            raise EventLogError("a consumer without a group cannot commit.")
        rows = [(self._group, topic, offset) for (topic, _), offset in positions.items()]
        if rows:
            self._log._submit(_Write(_COMMIT, rows, durable=False))

    def close(self) -> None:
        """Close the reader's connection."""
        self._connection.close()

    def _assign(self) -> None:
        committed = {
            topic: 0 if self._group is None else self._log.committed(self._group, topic)
            for topic in self._topics
        }
        stored = self._stored_positions(
            {TopicPartition(topic, 0): offset or None for topic, offset in committed.items()}
        )
        self._positions = committed | self._known(stored, self._topics)

    def _known(
        self, positions: Mapping[TopicPartition, int], topics: Collection[str]
    ) -> dict[str, int]:
        """Return the positions in `topics`, having checked that the log is as long as that."""
        with self._log._reading():
            end = _last_offset(self._connection) + 1
        for (topic, _), offset in positions.items():
            if offset > end:
                raise LostPositionError(
                    f"log {self._log._path}: ends at {end}, before position {offset} of "
                    f"`{topic}`. Was the file removed or restored? `riverrun rebuild` goes on "
                    "from the archive."
                )
        return {topic: offset for (topic, _), offset in positions.items() if topic in topics}

    def _read(self, limit: int) -> list[LogRecord]:
        with self._log._reading():
            # Changes with every commit of another connection; far cheaper than the queries.
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return []
            records = [
                LogRecord(TopicPartition(topic, 0), offset, key, value, moment=offset)
                for topic, position in self._positions.items()
                for offset, key, value in self._connection.execute(
                    "SELECT offset, key, value FROM records "
                    "WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?",
                    (topic, position, limit),
                )
            ]
        if not records:
            self._version = version
        records.sort(key=lambda record: record.offset)
        del records[limit:]
        for record in records:
            self._positions[record.source.topic] = record.offset + 1
        return records


def _last_offset(connection: sqlite3.Connection) -> int:
    """Return the last offset that was given; 0 where none was."""
    query = "SELECT seq FROM sqlite_sequence WHERE name = 'records'"
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _first_offset(connection: sqlite3.Connection) -> int | None:
    """Return the offset of the oldest record that is held, or None where none is."""
    (first,) = connection.execute("SELECT MIN(offset) FROM records").fetchone()
    return None if first is None else int(first)


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin where the code says so.
    return sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
