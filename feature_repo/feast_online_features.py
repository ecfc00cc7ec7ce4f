"""Online features in a Feast online store: SQLite embedded, Redis in production."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Any

import structlog

import feature_repo.import_feast  # noqa: F401

# isort: split
from feast import FeatureStore, RepoConfig
from feast.infra.provider import get_provider
from redis import RedisError

from feature_repo import definitions
from feature_repo.bulk_sql import WAL_BYTES, WAL_PAGES
from feature_repo.eviction import warn_of_eviction
from feature_repo.feast_records import VIEWS, Values, View, entity_key
from feature_repo.online_features import FeatureRecord, RecordT, key_of
from feature_repo.redis_errors import reason_of
from feature_repo.redis_online_store import TYPE as BULK_REDIS
from feature_repo.shop_file import ShopFileError, opening
from feature_repo.sqlite_online_store import TYPE as BULK_SQLITE

PROJECT = "riverrun"
KEYS_PER_READ = 500
"""SQLite takes a bounded number of arguments in one statement."""
REDIS_SECONDS = 5.0
"""A Redis that has not answered for so long is an error."""
_COMMA = r"\u002c"
WITHOUT_STORE = "Remove it, and `riverrun rebuild` makes it again from the archive."
WITHOUT_REGISTRY = "Remove it, and the next start makes it again."


class FeastOnlineFeatures:
    """Implements `OnlineFeatures` through Feast's provider.

    Values are written and read as the protobuf messages that Feast stores, without the pandas
    frames of `FeatureStore.push`: they are what `FeatureStore.get_online_features` reads too.
    Reads and writes have a connection each, so that a request never waits for a batch; Redis's
    client has one for each read at a time.

    Args:
        online_store: Feast's configuration of the online store.
        registry: Feast's registry file. The definitions are applied to it where it lacks them
            or they have changed.
        url: what errors call the store, without a password.

    Raises `ShopFileError` where the registry is damaged, or must be applied and cannot be written.
    What a Redis raises keeps its type, and names the store.
    """

    def __init__(self, online_store: Mapping[str, Any], registry: Path, url: str = "") -> None:
        self._url = url
        self._logger = structlog.get_logger(__name__)
        registry.parent.mkdir(parents=True, exist_ok=True)
        self._config = RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(registry.absolute()),
            online_store=dict(online_store),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
        with opening(registry, WITHOUT_REGISTRY):
            self._views = {view.name: view for view in _apply(self._config, registry.parent)}
        self._reader = get_provider(self._config)
        self._writer = get_provider(self._config)
        if self._config.online_store.type == BULK_SQLITE:
            # No wait for the disk: what a power cut takes is pushed again from the state
            # (ADR 0003). Feast has no settings for these.
            connection = self._writer.online_store._get_conn(self._config)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        self._read_lock: AbstractContextManager[Any] = threading.Lock()
        # Held by the first who has read from a Redis.
        self._warning = threading.Lock()
        self._is_redis = self._config.online_store.type == BULK_REDIS
        if self._is_redis:
            # No lock: readers of a Redis that hangs must not wait for each other too. Feast makes
            # the client when it is first asked for, so ask before any thread does.
            self._reader.online_store._get_client(self._config.online_store)
            self._read_lock = nullcontext()
        self._write_lock = threading.Lock()

    def __str__(self) -> str:
        return f"online store {self._url}".rstrip()

    def get(self, view: type[RecordT], keys: Sequence[str]) -> list[RecordT | None]:
        """Return the record of each key, in order, or None.

        None too where a row is no such record: it is logged, and the others are returned. But what
        the store says of itself, under keys that begin with a space, is never taken for missing.
        """
        stored = VIEWS[view]
        table = self._views[stored.name]
        records: list[RecordT | None] = []
        for start in range(0, len(keys), KEYS_PER_READ):
            part = keys[start : start + KEYS_PER_READ]
            entity_keys = [entity_key(stored.join_key, key) for key in part]
            with self._read_lock, self._errors():
                rows = self._reader.online_read(
                    self._config, table, entity_keys, [field.name for field in table.features]
                )
            for key, (_, values) in zip(part, rows, strict=True):
                records.append(None if _is_null(values) else self._decoded(stored, key, values))
        # Not before it has answered: a server starts without it too.
        if keys and self._is_redis and self._warning.acquire(blocking=False):
            warn_of_eviction(self._reader.online_store._client, str(self))
        return records

    def push(self, records: Sequence[FeatureRecord]) -> None:
        """Store each record, replacing the key's older one."""
        by_view: dict[type[FeatureRecord], dict[str, FeatureRecord]] = {}
        for record in records:
            view = type(record)
            by_view.setdefault(view, {})[key_of(record)] = record
        rows = [
            (self._views[VIEWS[view].name], _encoded(newest, VIEWS[view].encode))
            for view, newest in by_view.items()
        ]
        if rows:
            with self._write_lock, self._errors():
                self._writer.online_store.write_views(self._config, rows, datetime.now(UTC))

    def delete(self, view: type[FeatureRecord], keys: Sequence[str]) -> None:
        """Remove the rows of the keys, which Feast's own stores cannot."""
        if keys:
            table = self._views[VIEWS[view].name]
            with self._write_lock, self._errors():
                self._writer.online_store.delete_rows(self._config, table, keys)

    def close(self) -> None:
        """Close the connections of the stores that hold any."""
        for provider in (self._reader, self._writer):
            for name in ("_conn", "_client"):  # SQLite's and Redis's.
                connection = getattr(provider.online_store, name, None)
                if connection is not None:
                    connection.close()

    def _decoded(self, view: View, key: str, values: Mapping[str, Any]) -> Any:
        try:
            return view.decode(key, values)
        except Exception as error:  # The store has answered, whatever ails the row.
            if key.startswith(" "):
                raise  # Where whose it is were missing, it would be made another's.
            reason = f"{type(error).__name__}: {error}"
            self._logger.error("record_not_decoded", view=view.name, key=key, reason=reason)
            return None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            error.args = (f"{self}: {reason_of(error)}.",)
            raise


def sqlite_online_store(path: Path) -> dict[str, Any]:
    """Return Feast's configuration of an SQLite file, switched to write-ahead logging.

    The journal mode is a property of the file: with it readers do not wait for a writer.
    Raises `ShopFileError` where the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with opening(path, WITHOUT_STORE), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return {"type": BULK_SQLITE, "path": str(path.absolute())}


def redis_online_store(
    host: str, port: int, database: int, username: str = "", password: str = ""
) -> dict[str, Any]:
    """Return Feast's configuration of a Redis server; without a password it asks for none."""
    options: dict[str, str | float] = {
        "db": database,
        "socket_timeout": REDIS_SECONDS,
        "socket_connect_timeout": REDIS_SECONDS,
    }
    options |= {"username": username} if username else {}
    options |= {"password": password} if password else {}
    # Feast splits the string at commas and reads each value as JSON, so commas are escaped.
    written = [
        f"{name}={json.dumps(value).replace(',', _COMMA)}" for name, value in options.items()
    ]
    return {"type": BULK_REDIS, "connection_string": ",".join([f"{host}:{port}", *written])}


def _apply(config: Any, home: Path) -> list[Any]:
    """Apply the definitions where the registry differs, and return its feature views.

    Their offline sources, in the shop's folder `home`, are written where they are missing.
    """
    store = FeatureStore(config=config)
    shop = definitions.of_shop(home)
    wanted = {part.name: part for part in shop if hasattr(part, "batch_source")}
    try:
        known = {view.name: view for view in store.list_feature_views()}
    except FileNotFoundError:
        known = {}
    if (
        any(
            name not in known
            # Not `batch_source.path`: the shop may be mounted by several, and none is read online.
            or known[name].features != view.features
            for name, view in wanted.items()
        )
        or config.online_store.type == BULK_SQLITE
    ):
        # For SQLite applying also creates the tables, which another registry may not have.
        with _writing(home):
            definitions.write_missing_sources(shop)
            store.apply(shop)
    return list(store.list_feature_views())


@contextmanager
def _writing(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (EACCES, EPERM, EROFS):
            raise
        raise ShopFileError(
            f"{error.filename or home}: {error.strerror}. Feast's definitions must be written to "
            f"{home}: give its files to Riverrun's user, or start it once as their owner."
        ) from error


def _encoded(
    records: Mapping[str, Any], encode: Callable[[Any], Values]
) -> Iterator[tuple[str, Values]]:
    # Encoded one by one as they are written, so that a record stays in the processor's caches.
    for key, record in records.items():
        yield key, encode(record)


def _is_null(values: Mapping[str, Any] | None) -> bool:
    return not values or all(value.WhichOneof("val") is None for value in values.values())
