"""What is read from SQLite is what Feast's own store reads."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from feast import FeatureStore, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from feature_repo.feast_online_features import PROJECT, FeastOnlineFeatures, sqlite_online_store
from feature_repo.feast_records import VIEWS, entity_key
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import FeatureRecord, ItemStatistics, UserEmbedding, key_of
from feature_repo.sqlite_online_store import BulkSqliteOnlineStore
from streaming.shop_identity import require_own_store
from tests.support.records import RECORDS

FEW: list[FeatureRecord] = [
    UserHistory("u1", (HistoryEvent(5, "e1", "i1", "view", 0.0),)),
    UserHistory("u2"),
    UserEmbedding("u1", np.ones(3, np.float32), "20260102T030405Z-3f0f", 5),
    ItemStatistics("i1", 5, ("view", "cart"), (1.0, 0.5), (2.0, 0.5), (3.0, 0.5)),
]


@pytest.fixture(params=["UTC", "Asia/Tokyo"])
def _zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Feast stores times as the machine's local ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_zone")
def test_a_read_is_that_of_feasts_own_store(tmp_path: Path) -> None:
    online_store = sqlite_online_store(tmp_path / "online.sqlite")
    features = FeastOnlineFeatures(online_store, tmp_path / "registry.db")
    features.push(FEW)
    features.close()
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=str(tmp_path / "registry.db"),
        online_store=online_store,
        entity_key_serialization_version=3,
    )
    views = {view.name: view for view in FeatureStore(config=config).list_feature_views()}
    for record in FEW:
        view = VIEWS[type(record)]
        keys = [entity_key(view.join_key, key) for key in (key_of(record), "nobody")]
        ours, feasts = (
            store.online_read(config, views[view.name], [*keys, keys[0]])
            for store in (BulkSqliteOnlineStore(), SqliteOnlineStore())
        )
        assert ours == feasts
        assert ours[1] == (None, None)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, min_size=1, max_size=6))
def test_what_is_deleted_leaves_no_row(tmp_path: Path, records: list[FeatureRecord]) -> None:
    path = tmp_path / "online.sqlite"
    features = FeastOnlineFeatures(sqlite_online_store(path), tmp_path / "registry.db")
    features.push(records)
    for record in records:
        features.delete(type(record), [key_of(record), "never there"])
    features.close()
    with closing(sqlite3.connect(path)) as connection:
        for view in VIEWS.values():
            table = f'SELECT COUNT(*) FROM "{PROJECT}_{view.name}"'
            assert connection.execute(table).fetchone() == (0,)


def test_what_a_store_says_of_itself_is_not_missing_where_it_cannot_be_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "online.sqlite"
    features = FeastOnlineFeatures(sqlite_online_store(path), tmp_path / "registry.db")
    require_own_store(features, "one")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"DELETE FROM {PROJECT}_item_embedding WHERE feature_name = 'bundle_version'"
        )
    for _ in range(2):
        with pytest.raises(KeyError, match="bundle_version"):
            require_own_store(features, "another")
    features.close()


def test_a_row_that_is_no_record_hides_no_other(tmp_path: Path) -> None:
    """As of a push that lacks a feature, or of another version."""
    path = tmp_path / "online.sqlite"
    features = FeastOnlineFeatures(sqlite_online_store(path), tmp_path / "registry.db")
    counted = [ItemStatistics(f"i{n}", 5, ("view",), (1.0,), (2.0,), (3.0,)) for n in range(3)]
    features.push(counted)
    key = serialize_entity_key(entity_key("item_id", "i1"), 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        table = f"{PROJECT}_item_statistics"
        connection.execute(
            f"DELETE FROM {table} WHERE entity_key = ? AND feature_name = 'hour'", [key]
        )
    with capture_logs() as logs:
        assert features.get(ItemStatistics, ["i0", "i1", "i2"]) == [counted[0], None, counted[2]]
    features.close()
    assert [(log["event"], log["key"], log["reason"]) for log in logs] == [
        ("record_not_decoded", "i1", "KeyError: 'hour'")
    ]
