"""The state of the stream in one SQLite file: the embedded mode.

Histories, item statistics, positions, and the list of unpushed keys change in one transaction. The
state is therefore always that of a prefix of the log, each record counted once, and the online
store and the changelog are written from it, again where necessary (ADR 0003).
"""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from feature_repo.bulk_sql import WAL_BYTES, WAL_PAGES, execute_rows
from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.schema import Item
from feature_repo.shop_file import with_way_on
from streaming.additive import ADDITIVE, CO_VISITATION, STATISTICS, AdditiveKind
from streaming.milestones import NONE, Milestones
from streaming.stored_values import (
    StoredValues,
    decode_history,
    decode_records,
    decode_slice,
    decode_updates,
    ids_to_publish,
)
from streaming.stream_state import (
    AGAIN,
    HISTORY,
    ITEM,
    USER,
    Key,
    Slice,
    StateConflict,
    StateError,
    Unpushed,
    additive_keys,
    commit_of,
    stamp_of,
    whole_keys,
)
from streaming.updates import Updates

FORMAT = 2
BUSY_SECONDS = 10.0
WITHOUT_IT = "Remove it, and `riverrun rebuild` makes it from the archive."
_KEYS_PER_QUERY = 500
S = TypeVar("S")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS partitions (partition INTEGER PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS positions (
    partition INTEGER NOT NULL, topic TEXT NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (partition, topic)
) WITHOUT ROWID;
-- Of every user: the partition is the one that wrote last.
CREATE TABLE IF NOT EXISTS histories (
    user_id TEXT PRIMARY KEY, partition INTEGER NOT NULL, events BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS additive (
    kind TEXT NOT NULL, item_id TEXT NOT NULL, partition INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (kind, item_id, partition)
);
-- The last commit that touched an item's additive state in any partition.
CREATE TABLE IF NOT EXISTS stamps (
    kind TEXT NOT NULL, key TEXT NOT NULL, stamp TEXT NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
-- Items and users; empty where one was deleted.
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, partition INTEGER NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (kind, key)
);
-- What is not in the online store and the changelog yet.
CREATE TABLE IF NOT EXISTS unpushed (
    partition INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, stamp TEXT NOT NULL,
    PRIMARY KEY (partition, kind, key)
) WITHOUT ROWID;
-- The moments of the erasures that events which are not read yet may precede.
CREATE TABLE IF NOT EXISTS erasures (
    partition INTEGER NOT NULL, user_id TEXT NOT NULL, moment INTEGER NOT NULL,
    PRIMARY KEY (partition, user_id)
) WITHOUT ROWID;
-- The milestones, imported segments of the archive and others.
CREATE TABLE IF NOT EXISTS folded_segments (segment TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boot (id TEXT NOT NULL);
"""
_PUSHED = """
WITH told (partition, kind, key, pushed, newest, token) AS (VALUES {rows}),
compared AS (
    SELECT told.*, coalesce(stamps.stamp, unpushed.stamp, newest) AS current
    FROM told LEFT JOIN stamps USING (kind, key) LEFT JOIN unpushed USING (partition, kind, key)),
outdated AS (
    SELECT partition, kind, key, commit_of(current) || '/' || token AS again
    FROM compared WHERE current <> pushed AND commit_of(current) <> commit_of(pushed))
"""
_PUT_BACK = f"""{_PUSHED}
INSERT OR REPLACE INTO unpushed SELECT partition, kind, key, again FROM outdated
"""
_STAMP_SUMS_AGAIN = f"""{_PUSHED}
INSERT OR REPLACE INTO stamps SELECT kind, key, again FROM outdated JOIN stamps USING (kind, key)
"""
_TAKE_OFF = f"""{_PUSHED}
DELETE FROM unpushed WHERE (partition, kind, key) IN (
    SELECT partition, kind, key FROM compared WHERE current = pushed)
"""
_NOT_AGAIN = "DELETE FROM unpushed WHERE (partition, kind, key) IN (VALUES {rows})"
_LIST_ALL_AGAIN = f"""
INSERT OR REPLACE INTO unpushed SELECT {AGAIN}, kind, key, :stamp FROM (
    SELECT '{HISTORY}' AS kind, user_id AS key FROM histories
    UNION ALL SELECT '{HISTORY}', key FROM records WHERE kind = '{USER}'
    UNION ALL SELECT kind, key FROM records
    UNION ALL SELECT kind, key FROM stamps)
"""
_HISTORIES_OF = "SELECT user_id, events FROM histories WHERE user_id"
_ERASURES_OF = "SELECT user_id, moment FROM erasures WHERE partition = ? AND user_id"
_RECORDS_OF = "SELECT key, record FROM records WHERE kind = ? AND key"
_OWN_PARTS_OF = "SELECT item_id, state FROM additive WHERE partition = ? AND kind = ? AND item_id"
_PARTS_OF = "SELECT item_id, state FROM additive WHERE kind = ? AND item_id"
_NEWEST_STAMPS = """
SELECT kind, key, coalesce(stamps.stamp, unpushed.stamp)
FROM unpushed LEFT JOIN stamps USING (kind, key) WHERE partition = ? LIMIT ?
"""
_ERASE = "DELETE FROM histories WHERE user_id IN (VALUES {rows})"
_OUTDATED = "DELETE FROM erasures WHERE partition = ? AND moment < ?"
_CONTENTS = (
    "positions", "histories", "additive", "stamps", "records", "unpushed", "erasures",
    "folded_segments",
)  # fmt: skip

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SqliteState:
    """Implements `OpenState` in file `path`, created where it is missing.

    Raises `StateError` where the file cannot be opened or is of another format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._connection.create_function("commit_of", 1, commit_of, deterministic=True)
            self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            self._connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise StateError(f"state {path}: format {version} is not {FORMAT}. {WITHOUT_IT}")
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._push_again_after_reboot(_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "")
        except (sqlite3.Error, OSError) as error:
            reason = with_way_on(error, WITHOUT_IT)
            raise StateError(f"state {path}: cannot be opened: {reason}") from error

    def load(self, partition: int, user_ids: Collection[str], item_ids: Collection[str]) -> Slice:
        """Return the partition's part of the state of these users and items."""
        # Read the version first: where what follows is newer, the commit is refused.
        version = self._version(partition)
        positions = self._query(
            "SELECT topic, next_offset FROM positions WHERE partition = ?", (partition,)
        )
        return decode_slice(
            version,
            dict(positions),
            histories=self._of_keys(_HISTORIES_OF, (), user_ids),
            erasures=self._of_keys(_ERASURES_OF, (partition,), user_ids),
            parts={
                kind.name: self._of_keys(_OWN_PARTS_OF, (partition, kind.name), item_ids)
                for kind in ADDITIVE
            },
        )

    def commit(
        self,
        partition: int,
        version: int,
        updates: Updates,
        positions: Mapping[str, int],
        milestones: Milestones = NONE,
    ) -> str:
        """Store new values, and the positions and milestones reached with them: all or nothing."""
        stamp = stamp_of(partition, version + 1)
        values = StoredValues.of(updates)
        histories = [(key, partition, stored) for key, stored in values.histories.items()]
        erased = [(user_id,) for user_id in values.erased]
        records = [(*key, partition, stored) for key, stored in values.records.items()]
        additive = [
            (kind, item_id, partition, part)
            for kind, parts in values.parts.items()
            for item_id, part in parts.items()
        ]
        whole, merged = whole_keys(updates), additive_keys(updates)
        stamps = [(*key, stamp) for key in merged]
        unpushed = [(partition, *key, stamp) for key in (*whole, *merged)]
        again = [(AGAIN, *key) for key in whole]
        read = [(partition, topic, offset) for topic, offset in positions.items()]
        erasures = [(partition, user_id, at) for user_id, at in updates.erasures.items()]
        passed = [(each,) for each in milestones.encode()]
        with self._transaction() as connection:
            self._raise_version(partition, version)
            execute_rows(connection, "INSERT OR REPLACE INTO histories VALUES {rows}", histories)
            execute_rows(connection, _ERASE, erased)
            execute_rows(connection, "INSERT OR REPLACE INTO additive VALUES {rows}", additive)
            execute_rows(connection, "INSERT OR REPLACE INTO stamps VALUES {rows}", stamps)
            execute_rows(connection, "INSERT OR REPLACE INTO records VALUES {rows}", records)
            execute_rows(connection, "INSERT OR REPLACE INTO unpushed VALUES {rows}", unpushed)
            execute_rows(connection, _NOT_AGAIN, again)
            execute_rows(connection, "INSERT OR REPLACE INTO positions VALUES {rows}", read)
            execute_rows(connection, "INSERT OR REPLACE INTO erasures VALUES {rows}", erasures)
            if updates.outdated:
                connection.execute(_OUTDATED, (partition, updates.outdated))
            execute_rows(connection, "INSERT OR IGNORE INTO folded_segments VALUES {rows}", passed)
        return stamp

    def unpushed(self, partition: int, limit: int = 2_000) -> Unpushed:
        """Return the newest values of up to `limit` keys of the partition's unpushed list."""
        # Read stamps first: a value newer than its stamp is then pushed once more.
        stamps = {
            (kind, key): stamp
            for kind, key, stamp in self._query(_NEWEST_STAMPS, (partition, limit))
        }
        ids = ids_to_publish(stamps)
        updates = decode_updates(
            ids[HISTORY],
            histories=self._of_keys(_HISTORIES_OF, (), ids[HISTORY]),
            items=self._of_keys(_RECORDS_OF, (ITEM,), ids[ITEM]),
            users=self._of_keys(_RECORDS_OF, (USER,), ids[USER]),
            parts={
                kind.name: self._of_keys(_PARTS_OF, (kind.name,), ids[kind.name])
                for kind in ADDITIVE
            },
        )
        return Unpushed(updates, stamps)

    def forget_pushed(self, partition: int, stamps: Mapping[Key, str]) -> None:
        """Take off the partition's list the keys whose pushed values are still the newest."""
        # Without an fsync: if this is lost with the power, the keys are pushed once more.
        with self._transaction("NORMAL") as connection:
            newest = stamp_of(partition, self._version(partition))
            token = uuid4().hex
            rows = [(partition, *key, stamp, newest, token) for key, stamp in stamps.items()]
            # In this order: a key that was put back has a new stamp, and is not taken off.
            before = connection.total_changes
            execute_rows(connection, _PUT_BACK, rows)
            if connection.total_changes > before:
                execute_rows(connection, _STAMP_SUMS_AGAIN, rows)
            execute_rows(connection, _TAKE_OFF, rows)

    def partitions(self) -> list[int]:
        """Return the partitions that were ever committed."""
        return [partition for (partition,) in self._query("SELECT partition FROM partitions")]

    def all_statistics(self, batch: int = 10_000) -> Iterator[list[ItemStatistics]]:
        """Yield the statistics of every item, merged over the partitions, in batches."""
        yield from self._all(STATISTICS, batch)

    def all_co_visitation(self, batch: int = 1_000) -> Iterator[list[CoVisitation]]:
        """Yield the neighbours of every item, merged over the partitions, in batches."""
        yield from self._all(CO_VISITATION, batch)

    def all_histories(self, batch: int = 1_000) -> Iterator[list[UserHistory]]:
        """Yield every history, in batches by user id."""
        last = ""
        query = "SELECT user_id, events FROM histories WHERE user_id > ? ORDER BY user_id LIMIT ?"
        while rows := self._query(query, (last, batch)):
            last = rows[-1][0]
            yield [decode_history(*row)[0] for row in rows]

    def items(self, item_ids: Collection[str]) -> dict[str, Item | None]:
        """Return those of these items that were ever committed; None where one was deleted."""
        return decode_records(Item, self._of_keys(_RECORDS_OF, (ITEM,), item_ids))

    def milestones(self) -> Milestones:
        """Return the milestones of all commits since the state was empty."""
        rows = self._query("SELECT segment FROM folded_segments")
        return Milestones.decode(stored for (stored,) in rows)

    def count_unpushed(self) -> int:
        """Return how many keys are on the lists."""
        return int(self._query("SELECT COUNT(*) FROM unpushed")[0][0])

    def list_all_again(self) -> int:
        """Put every key on the list of `AGAIN`, and return how many are on it.

        An erased history has no row of its own, but its user has a record, known or erased.
        """
        stamp = {"stamp": stamp_of(AGAIN, uuid4().hex)}
        with self._transaction() as connection:
            listed = connection.execute(_LIST_ALL_AGAIN, stamp).rowcount
            connection.execute("UPDATE stamps SET stamp = :stamp", stamp)
            if listed > 0:
                connection.execute("INSERT OR IGNORE INTO partitions VALUES (?, 1)", (AGAIN,))
        query = "SELECT COUNT(*) FROM unpushed WHERE partition = ?"
        return int(self._query(query, (AGAIN,))[0][0])

    def reset(self) -> None:
        """Empty the state. Versions grow, so that nothing read before can be committed after."""
        with self._transaction() as connection:
            for table in _CONTENTS:
                connection.execute(f"DELETE FROM {table}")
            connection.execute("UPDATE partitions SET version = version + 1")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _version(self, partition: int) -> int:
        rows = self._query("SELECT version FROM partitions WHERE partition = ?", (partition,))
        return int(rows[0][0]) if rows else 0

    def _raise_version(self, partition: int, version: int) -> None:
        if version == 0:
            statement = "INSERT OR IGNORE INTO partitions VALUES (:partition, 1)"
        else:
            statement = (
                "UPDATE partitions SET version = version + 1 "
                "WHERE partition = :partition AND version = :version"
            )
        named = {"partition": partition, "version": version}
        if self._connection.execute(statement, named).rowcount == 0:
            raise StateConflict(
                f"state {self._path}: partition {partition} is not at version {version} any more."
            )

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
            raise StateError(f"state {self._path}: nothing was written: {error}.") from error

    def _push_again_after_reboot(self, boot_id: str) -> None:
        """List everything for pushing again where the machine was rebooted since the last run.

        The embedded online store does not wait for the disk: a power cut can lose its last writes,
        though a killed process cannot.
        """
        known = [stored for (stored,) in self._query("SELECT id FROM boot")]
        if known == [boot_id]:
            return
        if known:
            self.list_all_again()
        with self._transaction() as connection:
            connection.execute("DELETE FROM boot")
            connection.execute("INSERT INTO boot VALUES (?)", (boot_id,))

    def _query(self, query: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise StateError(f"state {self._path}: cannot be read: {error}.") from error

    def _all(self, kind: AdditiveKind[S], batch: int) -> Iterator[list[S]]:
        last = ""
        while keys := self._query(
            "SELECT key FROM stamps WHERE kind = ? AND key > ? ORDER BY key LIMIT ?",
            (kind.name, last, batch),
        ):
            (first,), (last,) = keys[0], keys[-1]
            parts = self._query(
                "SELECT item_id, state FROM additive WHERE kind = ? AND item_id BETWEEN ? AND ?",
                (kind.name, first, last),
            )
            yield list(kind.merged(parts).values())

    def _of_keys(
        self, query: str, arguments: Sequence[object], keys: Collection[str]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of `query` whose last column is one of `keys`."""
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_PER_QUERY):
            some = wanted[start : start + _KEYS_PER_QUERY]
            marks = ", ".join("?" * len(some))
            yield from self._query(f"{query} IN ({marks})", (*arguments, *some))
