"""One reader of the embedded log."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

from feature_repo.event_log import (
    EventLogError,
    LogRecord,
    LostPositionError,
    Positions,
    TopicPartition,
)
from streaming.group_commit import GroupCommit
from streaming.sqlite_log_file import SqliteLogFile, last_offset, trimmed

# Appends by another process are found by polling the file; 25 ms keeps "within 50 ms" on a busy
# machine.
LOOK_SECONDS = 0.025

POLL_BYTES = 16 * 2**20
"""A poll that has values of so many bytes takes no more records, as a Kafka's fetch does."""

_COMMIT = "INSERT OR REPLACE INTO committed VALUES (?, ?, ?)"


class SqliteConsumer:
    """A `LogConsumer` of the embedded log. Its partitions are assigned by the first poll.

    writes: the writer of this process to the file; it wakes a poll that waits.
    """

    def __init__(
        self,
        file: SqliteLogFile,
        writes: GroupCommit,
        group: str | None,
        topics: Sequence[str],
        positions: Positions,
    ) -> None:
        self._file = file
        self._writes = writes
        self._group = group
        self._topics = topics
        self._stored_positions = positions
        self._positions: dict[str, int] = {}
        with file.reading():
            self._connection = file.connect()
        self._version = -1

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """All of its topics, once the first poll has assigned them."""
        return frozenset(TopicPartition(topic, 0) for topic in self._positions)

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` next records in the order they were appended."""
        deadline = time.monotonic() + timeout
        if not self._positions:
            self._assign()
        while True:
            seen = self._writes.transactions
            records = self._read(max_records)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            self._writes.wait(seen, min(left, LOOK_SECONDS))

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return what `poll` does, which never waits longer than `timeout` here."""
        return self.poll(max_records, timeout)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Continue from the given offsets.

        Raises `LostPositionError` for an offset beyond the end, where the log was replaced, and for
        one of which the topic was trimmed.
        """
        self._positions = self._positions | self._known(positions, self._positions)
        self._version = -1

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit, for the group, the next offset to read of each topic."""
        if self._group is None:
            raise EventLogError("a consumer without a group cannot commit.")
        rows = [(self._group, topic, offset) for (topic, _), offset in positions.items()]
        if rows:
            self._writes.write(_COMMIT, rows, durable=False)

    def close(self) -> None:
        """Close the reader's connection."""
        self._connection.close()

    def _assign(self) -> None:
        committed = {
            topic: 0 if self._group is None else self._file.committed(self._group, topic)
            for topic in self._topics
        }
        stored = self._stored_positions(
            {TopicPartition(topic, 0): offset or None for topic, offset in committed.items()}
        )
        self._positions = committed | self._known(stored, self._topics)

    def _known(
        self, positions: Mapping[TopicPartition, int], topics: Collection[str]
    ) -> dict[str, int]:
        """Return the positions of `topics`, by topic.

        Raises `LostPositionError` for a position beyond the end of the log, or before records that
        were trimmed.
        """
        with self._file.reading():
            end = last_offset(self._connection) + 1
            trimmed_to = trimmed(self._connection)
        for (topic, _), offset in positions.items():
            if offset > end:
                raise LostPositionError(
                    f"{self._file}: ends at {end}, before position {offset} of "
                    f"`{topic}`. Was the file removed or restored? `riverrun rebuild` goes on "
                    "from the archive."
                )
            if offset < trimmed_to.get(topic, 0):
                raise LostPositionError(
                    f"{self._file}: `{topic}` begins at {trimmed_to[topic]}, after position "
                    f"{offset}. Was an older copy of the state put back? `riverrun rebuild` goes "
                    "on from the archive."
                )
        return {topic: offset for (topic, _), offset in positions.items() if topic in topics}

    def _read(self, limit: int) -> list[LogRecord]:
        with self._file.reading():
            # Changes with every commit of another connection; far cheaper than the queries.
            version = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if version == self._version:
                return []
            # One transaction, which the connection ends: what is appended between the queries would
            # be found by the later ones alone.
            with self._connection:
                self._connection.execute("BEGIN")
                records = [
                    record
                    for topic, position in self._positions.items()
                    for record in _within_bytes(self._of_topic(topic, position, limit))
                ]
        if not records:
            self._version = version
        records.sort(key=lambda record: record.offset)
        # A topic that was cut short has `POLL_BYTES` by itself. So the cut of all of them is no
        # later than its own, and leaves no gap.
        records = list(_within_bytes(records[:limit]))
        for record in records:
            self._positions[record.source.topic] = record.offset + 1
        return records

    def _of_topic(self, topic: str, position: int, limit: int) -> Iterator[LogRecord]:
        source = TopicPartition(topic, 0)
        query = (
            "SELECT offset, key, value, appended_at FROM records "
            "WHERE topic = ? AND offset >= ? ORDER BY offset LIMIT ?"
        )
        # Closed: a cursor that is not read to its end would hold back SQLite's checkpoints.
        with closing(self._connection.execute(query, (topic, position, limit))) as rows:
            for offset, key, value, appended_at in rows:
                yield LogRecord(source, offset, key, value, offset, appended_at)


def _within_bytes(records: Iterable[LogRecord]) -> Iterator[LogRecord]:
    """Yield the first records, up to the one with which they have `POLL_BYTES`."""
    size = 0
    for record in records:
        yield record
        size += record.size
        if size >= POLL_BYTES:
            return
