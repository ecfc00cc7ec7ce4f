"""Feast's SQLite online store, with cheaper reads, and writes of many rows in one statement.

It deletes single rows, too, which Feast's own store does not.

Feast's own store runs a statement for each feature it writes, and makes a `datetime` for each it
reads. Table and rows are the same, so that any client of Feast reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id, extract_text_and_num
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
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
_DELETE = 'DELETE FROM "{table}" WHERE entity_key IN (VALUES {{rows}})'


class BulkSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """The configuration of Feast's store, whose columns for vector search are not filled here."""

    type: Literal["feature_repo.sqlite_online_store.BulkSqliteOnlineStore"] = TYPE  # type: ignore[assignment]


class BulkSqliteOnlineStore(SqliteOnlineStore):
    """Feast's store with `write_views`, `delete_rows`, and a shorter `online_read`."""

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """Return the moment and the values of each entity, or None twice, as Feast's store does.

        All features are returned, whichever are requested.
        """
        name = _table_name(config, table)
        key_version = config.entity_key_serialization_version
        keys = [serialize_entity_key(each, key_version) for each in entity_keys]
        marks = ",".join("?" * len(keys))
        found: dict[bytes, dict[str, Any]] = {}
        moments: dict[bytes, int] = {}
        # `+` hides the column's type, or sqlite3 would convert the time of every row to an object.
        rows = self._get_conn(config).execute(
            f"SELECT entity_key, feature_name, value, +event_ts "
            f'FROM "{name}" WHERE entity_key IN ({marks})',
            keys,
        )
        for key, feature, value, moment in rows:
            found.setdefault(key, {})[feature] = Value.FromString(value)
            moments[key] = moment
        return [
            (_moment(moments[key]), found[key]) if key in found else (None, None) for key in keys
        ]

    def write_views(self, config: RepoConfig, views: Sequence[ViewRows], moment: datetime) -> None:
        """Store every row's values, as of `moment`, all of them or none."""
        at = to_naive_utc(moment)
        with self._get_conn(config) as connection:
            for table, rows in views:
                name = _table_name(config, table)
                [join_key] = table.join_keys
                key_version = config.entity_key_serialization_version
                execute_rows(
                    connection, _UPSERT.format(table=name), _rows(rows, join_key, key_version, at)
                )

    def delete_rows(self, config: RepoConfig, table: FeatureView, keys: Sequence[str]) -> None:
        """Remove the rows of these keys in one view, all of them or none.

        Feast compares no times when it writes, so a row of nulls would keep no older one out.
        """
        [join_key] = table.join_keys
        key_version = config.entity_key_serialization_version
        rows = ((serialize_entity_key(entity_key(join_key, key), key_version),) for key in keys)
        with self._get_conn(config) as connection:
            execute_rows(connection, _DELETE.format(table=_table_name(config, table)), rows)


def _moment(stored: int) -> datetime:
    """Return when a row was written: Feast stores UTC as if it were the machine's local time."""
    return datetime.fromtimestamp(stored).replace(tzinfo=UTC)  # noqa: DTZ006


def _table_name(config: RepoConfig, table: FeatureView) -> str:
    """Return the name of the view's table, escaped for use between double quotes."""
    versioned = config.registry.enable_online_feature_view_versioning
    name: str = compute_table_id(config.project, table, versioned)
    return name.replace('"', '""')


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
