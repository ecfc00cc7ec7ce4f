"""The worker's own state, and the place in the log it belongs to, in one SQLite file.

Histories, item statistics, positions, and the list of what the online store has not been told
yet change in one transaction. The state is therefore always that of a prefix of the log, each
record counted once, and everything outside is redone from it (ADR 0003).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from feature_repo.event_log import TopicPartition
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Item, User
from streaming.fold_in import FoldIn
from streaming.processor import Updates

FORMAT = 1
BUSY_SECONDS = 10.0
_KEYS_PER_QUERY = 500
T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS histories (user_id TEXT PRIMARY KEY, events BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS statistics (item_id TEXT PRIMARY KEY, counts BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS co_visitation (item_id TEXT PRIMARY KEY, neighbours BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fold_in (item_id TEXT PRIMARY KEY, sums BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
-- What is not in the online store and the changelog yet. A record is null where it was deleted,
-- and for what has a table of its own.
CREATE TABLE IF NOT EXISTS unpushed (
    kind TEXT NOT NULL, key TEXT NOT NULL, record BLOB, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS folded_segments (segment TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
"""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CheckpointError(Exception):
    """The checkpoint cannot be read or written. The message names the file."""


class Checkpoint:
    """The state in file `path`, created where it is missing. For use by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
            self._connection.execute("PRAGMA synchronous = FULL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise CheckpointError(f"checkpoint {path}: format {version} is not {FORMAT}.")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._push_again_after_reboot(_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "")
        except (sqlite3.Error, OSError) as error:
            raise CheckpointError(f"checkpoint {path}: cannot be opened: {error}.") from error

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to read of each partition."""
        rows = self._query("SELECT topic, partition, next_offset FROM positions")
        return {TopicPartition(topic, partition): offset for topic, partition, offset in rows}

    def histories(self, user_ids: Iterable[str]) -> dict[str, UserHistory]:
        """Return the histories of those users that have one."""
        return self._of_keys("histories", "user_id", "events", user_ids, _history)

    def statistics(self, item_ids: Iterable[str]) -> dict[str, ItemStatistics]:
        """Return the statistics of those items that have any."""
        return self._of_keys("statistics", "item_id", "counts", item_ids, _statistics)

    def co_visitation(self, item_ids: Iterable[str]) -> dict[str, CoVisitation]:
        """Return the neighbours of those items that have any."""
        return self._of_keys("co_visitation", "item_id", "neighbours", item_ids, _co_visitation)

    def fold_in(self, item_ids: Iterable[str]) -> dict[str, FoldIn]:
        """Return the sums of those items that have any."""
        return self._of_keys("fold_in", "item_id", "sums", item_ids, _fold_in)

    def all_histories(self, batch: int = 1_000) -> Iterator[list[UserHistory]]:
        """Yield every history, in batches by user id."""
        yield from self._all("histories", "user_id", "events", batch, _history)

    def all_statistics(self, batch: int = 10_000) -> Iterator[list[ItemStatistics]]:
        """Yield the statistics of every item, in batches by item id."""
        yield from self._all("statistics", "item_id", "counts", batch, _statistics)

    def all_co_visitation(self, batch: int = 1_000) -> Iterator[list[CoVisitation]]:
        """Yield the neighbours of every item, in batches by item id."""
        yield from self._all("co_visitation", "item_id", "neighbours", batch, _co_visitation)

    def folded_segments(self) -> set[str]:
        """Return the archive segments that are in the state."""
        return {segment for (segment,) in self._query("SELECT segment FROM folded_segments")}

    def commit(
        self,
        updates: Updates,
        positions: Mapping[TopicPartition, int] | None = None,
        segment: str | None = None,
    ) -> None:
        """Store new values and how far the log, or the archive, is in them: all or nothing.

        On return the state is on disk, and every key in `updates` counts as unpushed.
        """
        kept = [history for history in updates.histories.values() if history.events]
        gone = [(key,) for key, history in updates.histories.items() if not history.events]
        unpushed: list[tuple[str, str, bytes | None]] = [
            *(("history", key, None) for key in updates.histories),
            *(("statistics", key, None) for key in updates.statistics),
            *(("co_visitation", key, None) for key in updates.co_visitation),
            *(("fold_in", key, None) for key in updates.fold_in),
            *(("item", key, _record(item)) for key, item in updates.items.items()),
            *(("user", key, _record(user)) for key, user in updates.users.items()),
        ]
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO histories VALUES (?, ?)",
                [(history.user_id, _events(history)) for history in kept],
            )
            connection.executemany("DELETE FROM histories WHERE user_id = ?", gone)
            connection.executemany(
                "INSERT OR REPLACE INTO statistics VALUES (?, ?)",
                [(each.item_id, _counts(each)) for each in updates.statistics.values()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO co_visitation VALUES (?, ?)",
                [(each.item_id, _neighbours(each)) for each in updates.co_visitation.values()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO fold_in VALUES (?, ?)",
                [(each.item_id, _sums(each)) for each in updates.fold_in.values()],
            )
            connection.executemany("INSERT OR REPLACE INTO unpushed VALUES (?, ?, ?)", unpushed)
            connection.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                [(*source, offset) for source, offset in (positions or {}).items()],
            )
            if segment is not None:
                connection.execute("INSERT OR IGNORE INTO folded_segments VALUES (?)", (segment,))

    def unpushed(self, limit: int = 2_000) -> Updates:
        """Return the newest values of up to `limit` keys the online store was not told of yet."""
        updates = Updates()
        keys: dict[str, list[str]] = {
            "history": [], "statistics": [], "co_visitation": [], "fold_in": []
        }  # fmt: skip
        for kind, key, record in self._query(
            "SELECT kind, key, record FROM unpushed LIMIT ?", (limit,)
        ):
            if kind == "item":
                updates.items[key] = None if record is None else Item.model_validate_json(record)
            elif kind == "user":
                updates.users[key] = None if record is None else User.model_validate_json(record)
            else:
                keys[kind].append(key)
        histories = self.histories(keys["history"])
        updates.histories = {key: histories.get(key, UserHistory(key)) for key in keys["history"]}
        updates.statistics = self.statistics(keys["statistics"])
        updates.co_visitation = self.co_visitation(keys["co_visitation"])
        updates.fold_in = self.fold_in(keys["fold_in"])
        return updates

    def count_unpushed(self) -> int:
        """Return how many keys the online store has not been told of yet."""
        return int(self._query("SELECT COUNT(*) FROM unpushed")[0][0])

    def forget_pushed(self, pushed: Updates) -> None:
        """Take these keys off the list: the online store has their values."""
        keys = [
            *(("history", key) for key in pushed.histories),
            *(("statistics", key) for key in pushed.statistics),
            *(("co_visitation", key) for key in pushed.co_visitation),
            *(("fold_in", key) for key in pushed.fold_in),
            *(("item", key) for key in pushed.items),
            *(("user", key) for key in pushed.users),
        ]
        # Without an fsync: if this is lost with the power, the keys are pushed once more.
        with self._transaction("NORMAL") as connection:
            connection.executemany("DELETE FROM unpushed WHERE kind = ? AND key = ?", keys)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self, synchronous: str = "FULL") -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise CheckpointError(
                f"checkpoint {self._path}: nothing was written: {error}."
            ) from error

    def _push_again_after_reboot(self, boot_id: str) -> None:
        """Count everything as unpushed where the machine has started anew since the last time.

        The embedded online store does not wait for the disk: what it was told last can be lost
        with the power, though not with the process.
        """
        known = [stored for (stored,) in self._query("SELECT id FROM boot")]
        if known == [boot_id]:
            return
        with self._transaction() as connection:
            if known:
                connection.execute(
                    "INSERT OR IGNORE INTO unpushed SELECT 'history', user_id, NULL FROM histories"
                )
                connection.execute(
                    "INSERT OR IGNORE INTO unpushed "
                    "SELECT 'statistics', item_id, NULL FROM statistics"
                )
                connection.execute(
                    "INSERT OR IGNORE INTO unpushed "
                    "SELECT 'co_visitation', item_id, NULL FROM co_visitation"
                )
            connection.execute("DELETE FROM boot")
            connection.execute("INSERT INTO boot VALUES (?)", (boot_id,))

    def _query(self, query: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise CheckpointError(f"checkpoint {self._path}: cannot be read: {error}.") from error

    def _of_keys(
        self, table: str, key: str, value: str, keys: Iterable[str],
        decode: Callable[[str, bytes], T],
    ) -> dict[str, T]:  # fmt: skip
        found: dict[str, T] = {}
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ", ".join("?" * len(some))
            query = f"SELECT {key}, {value} FROM {table} WHERE {key} IN ({marks})"
            for name, stored in self._query(query, some):
                found[name] = decode(name, stored)
        return found

    def _all(
        self, table: str, key: str, value: str, batch: int, decode: Callable[[str, bytes], T]
    ) -> Iterator[list[T]]:
        last = ""
        query = f"SELECT {key}, {value} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT ?"
        while rows := self._query(query, (last, batch)):
            last = rows[-1][0]
            yield [decode(name, stored) for name, stored in rows]


def _record(record: Item | User | None) -> bytes | None:
    return None if record is None else record.model_dump_json().encode()


def _events(history: UserHistory) -> bytes:
    # orjson takes plain tuples only.
    return orjson.dumps([tuple(event) for event in history.events])


def _history(user_id: str, events: bytes) -> UserHistory:
    return UserHistory(user_id, tuple(HistoryEvent(*event) for event in orjson.loads(events)))


def _counts(each: ItemStatistics) -> bytes:
    return orjson.dumps([each.timestamp, each.event_types, each.hour, each.day, each.week])


def _statistics(item_id: str, counts: bytes) -> ItemStatistics:
    timestamp, *columns = orjson.loads(counts)
    return ItemStatistics(item_id, timestamp, *(tuple(column) for column in columns))


def _neighbours(each: CoVisitation) -> bytes:
    return orjson.dumps([each.timestamp, each.neighbour_ids, each.weights])


def _co_visitation(item_id: str, neighbours: bytes) -> CoVisitation:
    timestamp, *columns = orjson.loads(neighbours)
    return CoVisitation(item_id, timestamp, *(tuple(column) for column in columns))


def _sums(each: FoldIn) -> bytes:
    return orjson.dumps([each.bundle_version, each.timestamp, each.weight, each.vector.tolist()])


def _fold_in(item_id: str, sums: bytes) -> FoldIn:
    bundle_version, timestamp, weight, vector = orjson.loads(sums)
    return FoldIn(item_id, bundle_version, timestamp, weight, np.array(vector))
