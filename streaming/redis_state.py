"""The state of the stream in Redis, for workers on several machines.

    <prefix>partitions              set of the partitions that were committed
    <prefix>partition:<p>           hash: version, and the next offset of each topic
    <prefix>histories               hash: user id → events
    <prefix>additive:<kind>:<p>     hash: item id → the partition's part
    <prefix>stamps                  hash: "<kind> <item id>" → the last commit that touched it
    <prefix>unpushed:<p>            hash: "<kind> <key>" → the commit that put it on the list
    <prefix>erasures:<p>            sorted set: user id by the moment of the user's erasure
    <prefix>records                 hash: "<kind> <key>" → item or user, empty if deleted
    <prefix>segments                set of milestones, imported archive segments and others

Durable as far as Redis is (`appendonly yes`): a Redis that comes back without what was
committed is noticed, and `riverrun rebuild` fills it again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from redis import ReadOnlyError, Redis, RedisError, WatchError
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.open_online_features import without_password
from feature_repo.redis_errors import reason_of
from feature_repo.schema import Item
from streaming.additive import ADDITIVE, CO_VISITATION, STATISTICS, AdditiveKind
from streaming.milestones import NONE, Milestones
from streaming.redis_scripts import FORGET, LIST_AGAIN
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
    stamp_of,
    whole_keys,
)
from streaming.updates import Updates

PREFIX = "riverrun:state:"
TIMEOUT_SECONDS = 10.0
_KEYS_PER_SCAN = 1_000

S = TypeVar("S")


class RedisState:
    """Implements `OpenState` in a Redis database, in keys that begin with `PREFIX`.

    url: redis://[[USER]:PASSWORD@]HOST:PORT/DB. The connection is made by the first call.
    """

    def __init__(self, url: str) -> None:
        self._url = without_password(url)
        # Not retried here: the worker retries, and logs it.
        self._redis: Redis[bytes] = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        self._forget = self._redis.register_script(FORGET)
        self._list_again = self._redis.register_script(LIST_AGAIN)
        # The partitions there were when `unpushed` was last called: each has a list.
        self._partitions: frozenset[int] = frozenset()

    def load(self, partition: int, user_ids: Collection[str], item_ids: Collection[str]) -> Slice:
        """Return the partition's part of the state of these users and items."""
        users, items = list(user_ids), list(item_ids)
        with self._errors(), self._redis.pipeline(transaction=False) as pipe:
            # Read the version first: where what follows is newer, the commit is refused.
            pipe.hgetall(_partition(partition))
            if users:
                pipe.hmget(_HISTORIES, users)
                pipe.zmscore(_erasures(partition), users)  # type: ignore[no-untyped-call]
            if items:
                for kind in ADDITIVE:
                    pipe.hmget(_additive(kind.name, partition), items)
            stored, *columns = pipe.execute()
        histories, marks = (columns.pop(0), columns.pop(0)) if users else ([], [])
        # Nothing was read of items where none were asked for.
        read = zip(ADDITIVE, columns, strict=False)
        return decode_slice(
            int(stored.pop(_VERSION, 0)),
            {topic.decode(): int(offset) for topic, offset in stored.items()},
            histories=_found(users, histories),
            erasures=[(user_id, int(moment)) for user_id, moment in _found(users, marks)],
            parts={kind.name: _found(items, column) for kind, column in read},
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
        stamps = {_field(key): stamp for key in additive_keys(updates)}
        whole = [_field(key) for key in whole_keys(updates)]
        records = {_field(key): record for key, record in values.records.items()}
        hashes: list[tuple[str, dict[Any, Any]]] = [
            (_partition(partition), {**positions, _VERSION: version + 1}),
            (_HISTORIES, values.histories),
            *((_additive(kind, partition), parts) for kind, parts in values.parts.items()),
            (_STAMPS, stamps),
            (_unpushed(partition), {**stamps, **dict.fromkeys(whole, stamp)}),
            (_RECORDS, records),
        ]
        with self._errors(), self._redis.pipeline() as pipe:
            pipe.watch(_partition(partition))
            # After WATCH a pipeline runs each command immediately, until MULTI.
            current: Any = pipe.hget(_partition(partition), _VERSION)
            if int(current or 0) != version:
                raise self._conflict(partition, version)
            pipe.multi()
            for name, mapping in hashes:
                if mapping:
                    pipe.hset(name, mapping=mapping)
            if values.erased:
                pipe.hdel(_HISTORIES, *values.erased)
            if whole:
                pipe.hdel(_unpushed(AGAIN), *whole)
            if updates.erasures:
                marks: dict[Any, Any] = {**updates.erasures}
                pipe.zadd(_erasures(partition), marks)
            if updates.outdated:
                pipe.zremrangebyscore(_erasures(partition), "-inf", f"({updates.outdated}")
            if passed := milestones.encode():
                pipe.sadd(_MILESTONES, *passed)
            pipe.sadd(_PARTITIONS, partition)
            try:
                pipe.execute()
            except WatchError as error:
                raise self._conflict(partition, version) from error
        return stamp

    def unpushed(self, partition: int, limit: int = 2_000) -> Unpushed:
        """Return the newest values of up to `limit` keys of the partition's unpushed list."""
        with self._errors():
            entries = self._entries(partition, limit)
            if not entries:
                return Unpushed()
            with self._redis.pipeline(transaction=False) as pipe:
                # Read stamps first: a value newer than its stamp is then pushed once more.
                pipe.hmget(_STAMPS, [_field(key) for key in entries])
                pipe.smembers(_PARTITIONS)
                newest, members = pipe.execute()
            self._partitions = frozenset(map(int, members))
            ids = ids_to_publish(entries)
            updates = decode_updates(
                ids[HISTORY],
                histories=self._histories(ids[HISTORY]),
                items=self._records(ITEM, ids[ITEM]),
                users=self._records(USER, ids[USER]),
                parts={
                    kind.name: self._parts(kind, self._partitions, ids[kind.name])
                    for kind in ADDITIVE
                },
            )
        pairs = zip(entries.items(), newest, strict=True)
        return Unpushed(updates, {key: (stamp or entry).decode() for (key, entry), stamp in pairs})

    def forget_pushed(self, partition: int, stamps: Mapping[Key, str]) -> None:
        """Take off the partition's list the keys whose pushed values are still the newest.

        A pushed sum is one over all partitions: its key is taken off all known lists.
        """
        others = sorted(self._partitions - {partition})
        names = [_STAMPS, _unpushed(partition), _partition(partition), *map(_unpushed, others)]
        arguments = [each for key, stamp in stamps.items() for each in (_field(key), stamp)]
        with self._errors():
            self._forget(names, [partition, uuid4().hex, *arguments])

    def partitions(self) -> list[int]:
        """Return the partitions that were ever committed."""
        with self._errors():
            return sorted(map(int, self._redis.smembers(_PARTITIONS)))

    def all_statistics(self, batch: int = 10_000) -> Iterator[list[ItemStatistics]]:
        """Yield the statistics of every item, merged over the partitions, in batches."""
        yield from self._all(STATISTICS, batch)

    def all_co_visitation(self, batch: int = 1_000) -> Iterator[list[CoVisitation]]:
        """Yield the neighbours of every item, merged over the partitions, in batches."""
        yield from self._all(CO_VISITATION, batch)

    def all_histories(self, batch: int = 1_000) -> Iterator[list[UserHistory]]:
        """Yield every history, in batches; one that changes meanwhile may come twice."""
        for rows in self._scanned(_HISTORIES, batch):
            yield [decode_history(user_id.decode(), events)[0] for user_id, events in rows]

    def items(self, item_ids: Collection[str]) -> dict[str, Item | None]:
        """Return those of these items that were ever committed; None where one was deleted."""
        with self._errors():
            return decode_records(Item, self._records(ITEM, list(item_ids)))

    def milestones(self) -> Milestones:
        """Return the milestones of all commits since the state was empty."""
        with self._errors():
            stored = self._redis.smembers(_MILESTONES)
        return Milestones.decode(each.decode() for each in stored)

    def count_unpushed(self) -> int:
        """Return how many keys are on the lists."""
        partitions = self.partitions()
        with self._errors():
            return sum(self._redis.hlen(_unpushed(partition)) for partition in partitions)

    def list_all_again(self) -> int:
        """Put every key on the list of `AGAIN`, and return how many are on it."""
        stamp, again = stamp_of(AGAIN, uuid4().hex), _unpushed(AGAIN)
        with self._errors():
            for keys, prefix in (
                ([_HISTORIES, again], _field((HISTORY, ""))),
                ([_RECORDS, again], ""),
                ([_STAMPS, again, _STAMPS], ""),
            ):
                cursor = b"0"
                while True:
                    cursor = self._list_again(keys, [cursor, _KEYS_PER_SCAN, stamp, prefix])
                    if cursor == b"0":
                        break
            listed = self._redis.hlen(again)
            if listed:
                self._redis.sadd(_PARTITIONS, AGAIN)
        return listed

    def reset(self) -> None:
        """Empty the state. Versions grow, so that nothing read before can be committed after."""
        with self._errors():
            versions = {
                partition: int(self._redis.hget(_partition(partition), _VERSION) or 0)
                for partition in self.partitions()
            }
            with self._redis.pipeline() as pipe:
                pipe.delete(_HISTORIES, _RECORDS, _STAMPS, _MILESTONES)
                for partition, version in versions.items():
                    pipe.delete(
                        _partition(partition),
                        _unpushed(partition),
                        _erasures(partition),
                        *(_additive(kind.name, partition) for kind in ADDITIVE),
                    )
                    pipe.hset(_partition(partition), _VERSION, version + 1)
                pipe.execute()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _conflict(self, partition: int, version: int) -> StateConflict:
        return StateConflict(
            f"state {self._url}: partition {partition} is not at version {version} any more."
        )

    def _entries(self, partition: int, limit: int) -> dict[Key, bytes]:
        flat = self._redis.hrandfield(_unpushed(partition), limit, withvalues=True) or []
        return {_key(field): stamp for field, stamp in zip(flat[::2], flat[1::2], strict=True)}

    def _histories(self, user_ids: list[str]) -> list[tuple[str, bytes]]:
        return _found(user_ids, self._redis.hmget(_HISTORIES, user_ids)) if user_ids else []

    def _records(self, kind: str, ids: list[str]) -> list[tuple[str, bytes]]:
        fields = [_field((kind, key)) for key in ids]
        return _found(ids, self._redis.hmget(_RECORDS, fields)) if fields else []

    def _parts(
        self, kind: AdditiveKind[Any], partitions: Iterable[int], item_ids: list[str]
    ) -> list[tuple[str, bytes]]:
        if not item_ids:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for partition in sorted(partitions):
                pipe.hmget(_additive(kind.name, partition), item_ids)
            columns = pipe.execute()
        return [found for parts in columns for found in _found(item_ids, parts)]

    def _all(self, kind: AdditiveKind[S], batch: int) -> Iterator[list[S]]:
        partitions = self.partitions()
        seen: set[str] = set()
        for fields in self._scanned(_STAMPS, batch):
            keys = [_key(field) for field, _ in fields]
            items = [key for name, key in keys if name == kind.name and key not in seen]
            seen.update(items)
            with self._errors():
                yield list(kind.merged(self._parts(kind, partitions, items)).values())

    def _scanned(self, name: str, batch: int) -> Iterator[list[tuple[bytes, bytes]]]:
        cursor = 0
        while True:
            with self._errors():
                cursor, rows = self._redis.hscan(name, cursor, count=batch)
            if rows:
                yield list(rows.items())
            if cursor == 0:
                return

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            if isinstance(error, ReadOnlyError):
                # After a failover another server is the master: a new connection may find it.
                self._redis.connection_pool.disconnect()
            raise StateError(f"state {self._url}: {reason_of(error)}.") from error


_VERSION: Any = b"version"
_PARTITIONS = f"{PREFIX}partitions"
_HISTORIES = f"{PREFIX}histories"
_STAMPS = f"{PREFIX}stamps"
_RECORDS = f"{PREFIX}records"
_MILESTONES = f"{PREFIX}segments"


def _partition(partition: int) -> str:
    return f"{PREFIX}partition:{partition}"


def _additive(kind: str, partition: int) -> str:
    return f"{PREFIX}additive:{kind}:{partition}"


def _unpushed(partition: int) -> str:
    return f"{PREFIX}unpushed:{partition}"


def _erasures(partition: int) -> str:
    return f"{PREFIX}erasures:{partition}"


def _field(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def _key(field: bytes) -> Key:
    kind, _, key = field.decode().partition(" ")
    return kind, key


def _found(keys: list[str], stored: Iterable[S | None]) -> list[tuple[str, S]]:
    pairs = zip(keys, stored, strict=True)
    return [(key, value) for key, value in pairs if value is not None]
