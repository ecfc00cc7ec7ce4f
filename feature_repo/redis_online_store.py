"""Feast's Redis online store, with what many rows share worked out once.

Feast's own hashes every feature's name, and serialises time and key, anew for each row. Keys and
hashes are the same, so that any client of Feast reads them.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from struct import Struct
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.infra.online_stores.helpers import _mmh3, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import ValueType
from feast.utils import make_tzaware
from google.protobuf.timestamp_pb2 import Timestamp
from redis import ConnectionError
from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_repo.feast_records import Record

TYPE = f"{__name__}.BulkRedisOnlineStore"
"""The store's name in Feast's configuration."""


class BulkRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """That of Feast's store, which always overwrites.

    Feast can instead drop a row whose timestamp is not newer than the stored one. The worker is
    each key's one writer, and writes whole records in order.
    """

    type: Literal["feature_repo.redis_online_store.BulkRedisOnlineStore"] = TYPE  # type: ignore[assignment]
    skip_dedup: Literal[True] = True


class BulkRedisOnlineStore(RedisOnlineStore):
    """Feast's store with another `online_write_batch`, and without pauses between attempts."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Iterable[Record],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Store every record's values, each record as a whole, in one pipeline."""
        versioned = config.registry.enable_online_feature_view_versioning
        name = compute_versioned_name(table, versioned)
        stored_key = _keys(table.join_keys, config)
        stamps: dict[datetime, bytes] = {}
        ttl = config.online_store.key_ttl_seconds
        with self._get_client(config.online_store).pipeline(transaction=False) as pipe:
            for entity_key, values, moment, _ in data:
                key = stored_key(entity_key)
                if moment not in stamps:
                    stamps[moment] = _stamp(moment)
                pairs = [f"_ts:{name}", stamps[moment]]
                for feature, value in values.items():
                    pairs += (_field(name, feature), value.SerializeToString())
                pipe.hset(key, items=pairs)
                if ttl:
                    pipe.expire(key, ttl)
            written = pipe.execute()
        if progress:
            progress(len(written))

    def _get_client(self, online_store_config: Any) -> Any:
        """Return the client, which tries again once, at once, where a connection is broken.

        A server that was restarted has closed it. Waiting is for those who know whether they were
        told to stop.
        """
        if self._client is None:
            retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
            super()._get_client(online_store_config).set_retry(retry)
        return self._client


_STRING = Struct("<II")
"""What precedes a string in a stored key: its type and its length in bytes."""


def _keys(join_keys: Sequence[str], config: RepoConfig) -> Callable[[Any], bytes]:
    """Return what makes the keys of a view's rows: Feast's `_redis_key`."""
    version = config.entity_key_serialization_version
    project: bytes = config.project.encode()
    if len(join_keys) != 1:
        return lambda key: bytes(serialize_entity_key(key, version)) + project
    start: bytes = serialize_entity_key_prefix(list(join_keys), version)

    def stored_key(entity_key: Any) -> bytes:
        [value] = entity_key.entity_values
        if not value.HasField("string_val"):
            return bytes(serialize_entity_key(entity_key, version)) + project
        name: bytes = value.string_val.encode()
        return b"".join((start, _STRING.pack(ValueType.STRING, len(name)), name, project))

    return stored_key


@cache
def _field(view: str, feature: str) -> bytes:
    """Return what a feature is called in the hash of its entity."""
    return bytes(_mmh3(f"{view}:{feature}"))


def _stamp(moment: datetime) -> bytes:
    stamp = Timestamp()
    stamp.FromDatetime(make_tzaware(moment))
    return bytes(stamp.SerializeToString())
