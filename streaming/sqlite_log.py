"""The embedded log: one SQLite file, many threads and processes, no server.

One table holds all topics, so an offset is a place in the order of everything that was
appended, and partition 0 is the only one. Callers that append at the same time share one
transaction, and so one fsync.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from feature_repo.bulk_sql import WAL_BYTES
from feature_repo.event_log import (
    ITEM_EMBEDDINGS,
    EventLogError,
    Message,
    Positions,
    TopicPartition,
)
from feature_repo.shop_file import with_way_on
from streaming.group_commit import GroupCommit
from streaming.sqlite_consumer import SqliteConsumer
from streaming.sqlite_log_file import (
    SCHEMA,
    SqliteLogFile,
    first_offset,
    last_offset,
    trimmed,
)

ROWS_PER_DELETE = 2_000
WITHOUT_IT = (
    "Remove it, and `riverrun rebuild` goes on from the archive: what is not there is lost."
)

_INSERT = "INSERT INTO records (topic, appended_at, key, value) VALUES (?, ?, ?, ?)"
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


class SqliteLog:
    """A `GroupedLog` and `TrimmableLog` in the SQLite file `path`, created where it is missing.

    `clock` gives seconds since 1970 for the age of records.
    Raises `EventLogError` where the file cannot be opened or is no log.
    """

    topics_share_an_order = True
    is_shared_out = False

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = SqliteLogFile(path)
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = self._file.connect()
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            reason = with_way_on(error, WITHOUT_IT)
            raise EventLogError(f"{self._file}: cannot be opened: {reason}") from error
        self._writes = GroupCommit(connection, str(self._file))

    def append(self, topic: str, messages: Sequence[Message]) -> dict[TopicPartition, int]:
        """Append in order; on return every message is on disk, on an error none is.

        Returns the offset after the last one, for the topic's only partition.
        """
        now = int(self._clock() * 1000)
        rows = [(topic, now, message.key, message.value) for message in messages]
        if not rows:
            return {}
        written = self._writes.write(_INSERT, rows, durable=True)
        return {TopicPartition(topic, 0): written.last_row + 1}

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> SqliteConsumer:
        """Read `topics`. Every consumer reads the whole log: a group should have one at a time."""
        return SqliteConsumer(self._file, self._writes, group, topics, positions or (lambda _: {}))

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each topic the offset after its newest record."""
        query = "SELECT MAX(offset) FROM records WHERE topic = ?"
        with self._file.reading(), closing(self._file.connect()) as connection:
            newest = {topic: connection.execute(query, (topic,)).fetchone()[0] for topic in topics}
        return {TopicPartition(topic, 0): (at or 0) + 1 for topic, at in newest.items()}

    def unread(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each topic the first offset that the group has not committed.

        It is the topic's start where that is later.
        """
        return {
            source: max(start, self._file.committed(group, source.topic))
            for source, start in self.starts(topics).items()
        }

    def starts(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return, for each topic, the first offset of the log, or where the topic was trimmed to.

        Its topics share an order, so their offsets begin with the log's.
        """
        with self._file.reading(), closing(self._file.connect()) as connection:
            # In this order: what is appended meanwhile is not before the start.
            after = last_offset(connection) + 1
            start = first_offset(connection) or after
            trimmed_to = trimmed(connection)
        return {TopicPartition(topic, 0): max(start, trimmed_to.get(topic, 0)) for topic in topics}

    def trim(self, topic: str, groups: Sequence[str]) -> int:
        """Delete the records of `topic` that all of `groups` have committed; return how many.

        A group that has committed nothing keeps everything.
        """
        before = min((self._file.committed(group, topic) for group in groups), default=0)
        return self._delete(_ARCHIVED, (topic, before))

    def compact(self, tombstones_before: float) -> int:
        """Keep the newest record of each key of the item changelog; return how many went.

        Tombstones appended before `tombstones_before` (seconds since 1970) go too.
        """
        superseded = self._delete(_SUPERSEDED, ())
        return superseded + self._delete(_OLD_TOMBSTONES, (int(tombstones_before * 1000),))

    def begin_after(self, offset: int) -> None:
        """Never assign an offset up to `offset` again.

        For a log whose file was removed: the archive and the state remember offsets that the new
        file would use again. Records that no group has read yet are moved beyond `offset`; a log
        that was read, or is further already, is left as it is.
        """
        try:
            with closing(self._file.connect()) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                last = last_offset(connection)
                was_read = connection.execute("SELECT 1 FROM committed LIMIT 1").fetchone()
                if not was_read and (first_offset(connection) or offset + 1) <= offset:
                    # So far that no record is moved onto the offset of another.
                    distance = max(last, offset)
                    connection.execute("UPDATE records SET offset = offset + ?", (distance,))
                    last += distance
                last = max(last, offset)
                connection.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
                connection.execute("INSERT INTO sqlite_sequence VALUES ('records', ?)", (last,))
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise EventLogError(f"{self._file}: nothing was written: {error}.") from error

    def close(self) -> None:
        """Close the file. Consumers see an `EventLogError` from then on."""
        self._writes.close()

    def _delete(self, statement: str, arguments: tuple[Any, ...]) -> int:
        total = 0
        while True:
            # Few rows at a time: appends wait for each transaction.
            rows = [(*arguments, ROWS_PER_DELETE)]
            changed = self._writes.write(statement, rows, durable=False).changed
            total += changed
            if changed < ROWS_PER_DELETE:
                return total
