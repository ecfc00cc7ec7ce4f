"""Feast's Redis online store, and a way to write many rows of several views at once.

Feast's own hashes every feature's name, and serialises time and key, anew for each row, and sends
a command for each view. Keys, hashes and values are the same, so that any client of Feast reads
them. It deletes single rows, too, which Feast's own does not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from struct import Struct
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import ValueType
from google.protobuf.timestamp_pb2 import Timestamp
from redis import ConnectionError, ReadOnlyError
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.feast_records import ViewRows

TYPE = f"{__name__}.BulkRedisOnlineStore"
"""The store's name in Feast's configuration."""


class BulkRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """The configuration of Feast's store, which here always overwrites.

    Feast can instead drop a row whose timestamp is not newer than the stored one. The worker is
    each key's one writer, and writes whole records in order.
    """

    type: Literal["feature_repo.redis_online_store.BulkRedisOnlineStore"] = TYPE  # type: ignore[assignment]
    skip_dedup: Literal[True] = True


class BulkRedisOnlineStore(RedisOnlineStore):
    """Feast's store with `write_views` and `delete_rows`, and without pauses between attempts."""

    def write_views(self, config: RepoConfig, views: Sequence[ViewRows], moment: datetime) -> None:
        """Store every row's values, as of `moment`, in one pipeline.

        One command writes all views' values of an entity.
        """
        versioned = config.registry.enable_online_feature_view_versioning
        stamp = _stamp(moment)
        commands: dict[tuple[str, str], list[str | bytes]] = {}
        for table, rows in views:
            name = compute_versioned_name(table, versioned)
            [join_key] = table.join_keys
            time = f"_ts:{name}"
            for key, values in rows:
                pairs = commands.setdefault((join_key, key), [])
                pairs += (time, stamp)
                for feature, value in values.items():
                    pairs += (_field(name, feature), value.SerializeToString())
        client = self._get_client(config.online_store)
        with _to_the_master(client), client.pipeline(transaction=False) as pipe:
            for (join_key, key), pairs in commands.items():
                # `hset` would look at every pair once more.
                pipe.execute_command("HSET", _stored_key(config, join_key, key), *pairs)
            pipe.execute()

    def delete_rows(self, config: RepoConfig, table: FeatureView, keys: Sequence[str]) -> None:
        """Remove one view's values of these keys, in one pipeline; no other view's.

        Nothing here compares times when it writes, so nulls would keep no older values out.
        """
        versioned = config.registry.enable_online_feature_view_versioning
        name = compute_versioned_name(table, versioned)
        [join_key] = table.join_keys
        fields = [f"_ts:{name}", *(_field(name, feature.name) for feature in table.features)]
        client = self._get_client(config.online_store)
        with _to_the_master(client), client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hdel(_stored_key(config, join_key, key), *fields)
            pipe.execute()

    def _get_client(self, online_store_config: Any) -> Any:
        """Return the client, which retries once and without a pause where a connection is broken.

        A server that was restarted has closed it. Longer waits are left to callers, who know
        whether they were told to stop.
        """
        if self._client is None:
            retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
            super()._get_client(online_store_config).set_retry(retry)
        return self._client


@contextmanager
def _to_the_master(client: Any) -> Iterator[None]:
    """Close the client's connections where a server takes no writes.

    After a failover another server is the master: a new connection may find it.
    """
    try:
        yield
    except ReadOnlyError:
        client.connection_pool.disconnect()
        raise


_STRING = Struct("<II")
"""What precedes a string in a stored key: its type and its length in bytes."""


def _stored_key(config: RepoConfig, join_key: str, key: str) -> bytes:
    """Return the key of an entity that is one string: Feast's `_redis_key`."""
    name = key.encode()
    start = _key_start(join_key, config.entity_key_serialization_version)
    return b"".join(
        (start, _STRING.pack(ValueType.STRING, len(name)), name, config.project.encode())
    )


@cache
def _key_start(join_key: str, version: int) -> bytes:
    return bytes(serialize_entity_key_prefix([join_key], version))


@cache
def _field(view: str, feature: str) -> bytes:
    """Return the name of a feature in the Redis hash of its entity."""
    return bytes(_mmh3(f"{view}:{feature}"))


def _stamp(moment: datetime) -> bytes:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return bytes(stamp.SerializeToString())
