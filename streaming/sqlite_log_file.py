"""The file of the embedded log: its tables, and how its readers open it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from feature_repo.event_log import ITEM_EMBEDDINGS, EventLogError

BUSY_SECONDS = 10.0

SCHEMA = f"""
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
CREATE TABLE IF NOT EXISTS trimmed (
    topic TEXT PRIMARY KEY,
    next_offset INTEGER NOT NULL  -- after the newest record of the topic that was deleted
) WITHOUT ROWID;
-- The changelog is compacted instead: a reader from its start still gets every key.
CREATE TRIGGER IF NOT EXISTS trims AFTER DELETE ON records WHEN old.topic <> '{ITEM_EMBEDDINGS}'
BEGIN
    INSERT INTO trimmed VALUES (old.topic, old.offset + 1)
    ON CONFLICT (topic) DO UPDATE SET next_offset = MAX(next_offset, excluded.next_offset);
END;
"""


class SqliteLogFile:
    """Opens connections to the file `path`, and says what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"log {self.path}"

    def connect(self) -> sqlite3.Connection:
        """Return a new connection, for use by one thread at a time. Raises `sqlite3.Error`."""
        # isolation_level None: transactions begin where the code says so.
        return sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what SQLite raises inside into an `EventLogError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise EventLogError(f"{self}: cannot be read: {error}.") from error

    def committed(self, group: str, topic: str) -> int:
        """Return the next offset the group reads of `topic`; 0 where it committed nothing."""
        query = "SELECT next_offset FROM committed WHERE consumer_group = ? AND topic = ?"
        with self.reading(), closing(self.connect()) as connection:
            row = connection.execute(query, (group, topic)).fetchone()
        return 0 if row is None else int(row[0])


def last_offset(connection: sqlite3.Connection) -> int:
    """Return the last offset that was given; 0 where none was."""
    query = "SELECT seq FROM sqlite_sequence WHERE name = 'records'"
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def trimmed(connection: sqlite3.Connection) -> dict[str, int]:
    """Return, by topic, the offset after its newest deleted record; compaction does not count."""
    return dict(connection.execute("SELECT topic, next_offset FROM trimmed"))


def first_offset(connection: sqlite3.Connection) -> int | None:
    """Return the offset of the oldest record that is held, or None where none is."""
    (first,) = connection.execute("SELECT MIN(offset) FROM records").fetchone()
    return None if first is None else int(first)
