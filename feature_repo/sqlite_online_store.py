"""Feast's SQLite online store, and a way to write many rows with a statement.

Feast's own writes a row per feature, a statement each. Table and rows are the same, so that any
client of Feast reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from feast import RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.utils import to_naive_utc

from feature_repo.bulk_sql import execute_rows
from feature_repo.feast_records import Values, ViewRows, entity_key

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
    """Feast's store with `write_views`."""

    def write_views(self, config: RepoConfig, views: Sequence[ViewRows], moment: datetime) -> None:
        """Store every row's values, as of `moment`, all of them or none."""
        versioned = config.registry.enable_online_feature_view_versioning
        at = to_naive_utc(moment)
        with self._get_conn(config) as connection:
            for table, rows in views:
                name = compute_table_id(config.project, table, versioned).replace('"', '""')
                [join_key] = table.join_keys
                key_version = config.entity_key_serialization_version
                execute_rows(
                    connection, _UPSERT.format(table=name), _rows(rows, join_key, key_version, at)
                )


def _rows(
    rows: Iterable[tuple[str, Values]], join_key: str, key_version: int, at: datetime
) -> Iterator[tuple[Any, ...]]:
    for key, values in rows:
        stored_key = serialize_entity_key(
            entity_key(join_key, key), entity_key_serialization_version=key_version
        )
        for feature, value in values.items():
            text, _ = extract_text_and_num(value, False)
            yield (stored_key, feature, value.SerializeToString(), text, at, at)
