"""Feast's SQLite online store, with many rows to a statement.

Feast's own writes a row per feature, a statement each. Table and rows are the same, so that any
client of Feast reads them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.utils import to_naive_utc

from feature_repo.bulk_sql import execute_rows
from feature_repo.feast_records import Record

TYPE = f"{__name__}.BulkSqliteOnlineStore"
"""The store's name in Feast's configuration."""

_UPSERT = """
INSERT INTO "{table}" (entity_key, feature_name, value, value_text, event_ts, created_ts)
VALUES {{rows}}
ON CONFLICT (entity_key, feature_name) DO UPDATE SET
    value = excluded.value, value_text = excluded.value_text,
    event_ts = excluded.event_ts, created_ts = excluded.created_ts
"""


class BulkSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """That of Feast's store; `BulkSqliteOnlineStore` fills no columns of a vector search."""

    type: Literal["feature_repo.sqlite_online_store.BulkSqliteOnlineStore"] = TYPE  # type: ignore[assignment]


class BulkSqliteOnlineStore(SqliteOnlineStore):
    """Feast's store with another `online_write_batch`."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Iterable[Record],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Store every record's values, all or none of them."""
        versioned = config.registry.enable_online_feature_view_versioning
        name = compute_table_id(config.project, table, versioned).replace('"', '""')
        rows = _rows(data, config.entity_key_serialization_version, progress)
        with self._get_conn(config) as connection:
            execute_rows(connection, _UPSERT.format(table=name), rows)


def _rows(
    data: Iterable[Record], key_version: int, progress: Callable[[int], Any] | None
) -> Iterator[tuple[Any, ...]]:
    for key, values, timestamp, created in data:
        stored_key = serialize_entity_key(key, entity_key_serialization_version=key_version)
        times = (to_naive_utc(timestamp), None if created is None else to_naive_utc(created))
        for feature, value in values.items():
            text, _ = extract_text_and_num(value, False)
            yield (stored_key, feature, value.SerializeToString(), text, *times)
        if progress:
            progress(1)
