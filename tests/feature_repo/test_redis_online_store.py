"""What is stored in Redis is what Feast's own store would have stored, and the other way round."""

import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from feast import FeatureStore, RepoConfig
from feast.infra.online_stores.redis import RedisOnlineStore
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feature_repo import feast_online_features
from feature_repo.feast_online_features import PROJECT, FeastOnlineFeatures, redis_online_store
from feature_repo.feast_records import VIEWS, Values, View, entity_key
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import FeatureRecord, UserEmbedding, key_of
from feature_repo.open_online_features import open_online_features
from feature_repo.redis_online_store import BulkRedisOnlineStoreConfig
from streaming.open_stream_state import open_stream_state
from streaming.stream_state import StateError
from tests.support.records import RECORDS, comparable
from tests.support.redis_server import database

pytestmark = pytest.mark.redis

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)

Hashes = dict[bytes, dict[bytes, bytes]]


class Stores:
    """Ours and Feast's own, on two empty databases of one server."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self.clients = {
            name: redis.Redis.from_url(database(redis_url, number))
            for name, number in (("ours", 8), ("feast", 9))
        }
        where = self.clients["ours"].connection_pool.connection_kwargs
        self.configs = {
            "ours": redis_online_store(where["host"], where["port"], where["db"]),
            "feast": {
                "type": "redis",
                "connection_string": f"{where['host']}:{where['port']},db={where['db'] + 1}",
                "skip_dedup": True,
            },
        }
        self.folder = folder
        self.stores = {name: self.open(name, name) for name in self.configs}
        views = FeatureStore(config=self.config("feast")).list_feature_views()
        self.tables = {view.name: view for view in views}

    def open(self, kind: str, data: str) -> FeastOnlineFeatures:
        """Open a store of a kind on the other's database, or its own."""
        connection = self.configs[data]["connection_string"]
        config = {**self.configs[kind], "connection_string": connection}
        return FeastOnlineFeatures(config, self.folder / "registry.db")

    def push(self, name: str, records: Sequence[FeatureRecord]) -> None:
        """Store the records by our way in, or by that of Feast's own store."""
        if name == "ours":
            self.stores[name].push(records)
        for record in records if name == "feast" else ():
            view = VIEWS[type(record)]
            self._write(view, key_of(record), view.encode(record))

    def _write(self, view: View, key: str, values: Values) -> None:
        row = (entity_key(view.join_key, key), values, MOMENT, None)
        RedisOnlineStore().online_write_batch(
            self.config("feast"), self.tables[view.name], [row], None
        )

    def config(self, name: str) -> RepoConfig:
        """Return Feast's configuration of a store."""
        return RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(self.folder / "registry.db"),
            online_store=self.configs[name],
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )

    def hashes(self, name: str) -> Hashes:
        """Return all that is stored, but for when."""
        client = self.clients[name]
        found = {key: client.hgetall(key) for key in client.keys("*")}
        return {
            key: {name: b"" if name.startswith(b"_ts:") else value for name, value in each.items()}
            for key, each in found.items()
        }

    def clear(self) -> None:
        for client in self.clients.values():
            client.flushdb()


@pytest.fixture(scope="module")
def stores(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    stores = Stores(redis_url, tmp_path_factory.mktemp("registry"))
    yield stores
    stores.clear()
    for store in stores.stores.values():
        store.close()
    for client in stores.clients.values():
        client.close()


@settings(max_examples=50)
@given(records=st.lists(RECORDS, min_size=1, max_size=6))
def test_both_store_the_same_bytes(stores: Stores, records: list[FeatureRecord]) -> None:
    stores.clear()
    for name in stores.stores:
        stores.push(name, records)
    assert stores.hashes("ours") == stores.hashes("feast")


@settings(max_examples=50)
@given(records=st.lists(RECORDS, min_size=1, max_size=6))
def test_what_is_deleted_leaves_no_byte(stores: Stores, records: list[FeatureRecord]) -> None:
    stores.clear()
    view = type(records[0])
    key = key_of(records[0])
    stores.push("ours", records)
    stores.stores["ours"].delete(view, [key, "unknown"])
    kept = [each for each in records if type(each) is not view or key_of(each) != key]
    stores.push("feast", kept)
    assert stores.hashes("ours") == stores.hashes("feast")


@settings(max_examples=20)
@given(record=RECORDS)
@pytest.mark.parametrize(("writer", "reader"), [("ours", "feast"), ("feast", "ours")])
def test_each_reads_what_the_other_wrote(
    stores: Stores, writer: str, reader: str, record: FeatureRecord
) -> None:
    stores.push(writer, [record])
    other = stores.open(reader, writer)
    view: Any = type(record)
    [found] = other.get(view, [key_of(record)])
    other.close()
    assert comparable(found) == comparable(record)


def test_feasts_own_client_reads_features_and_their_time(stores: Stores) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    events = tuple(HistoryEvent(n, f"e{n}", f"i{n}", "view", n / 2) for n in range(128))
    stores.stores["ours"].push([UserHistory("u", events)])
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry=str(stores.folder / "registry.db"),
            online_store={
                **stores.configs["feast"],
                "connection_string": stores.configs["ours"]["connection_string"],
            },
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    answer = store.get_online_features(
        ["user_history:item_ids", "user_history:values"], [{"user_id": "u"}]
    )
    found = answer.to_dict(include_event_timestamps=True)
    assert found["item_ids"] == [[event.item_id for event in events]]
    assert found["values"] == [[event.value for event in events]]
    [written] = found["item_ids__ts"]
    assert before <= datetime.fromtimestamp(int(written), UTC) <= datetime.now(UTC)


def test_a_store_that_should_drop_late_rows_is_refused() -> None:
    with pytest.raises(ValidationError, match="skip_dedup"):
        BulkRedisOnlineStoreConfig(skip_dedup=False)


def test_an_unreachable_redis_is_said_at_once(tmp_path: Path) -> None:
    store = FeastOnlineFeatures(redis_online_store("127.0.0.1", 1, 0), tmp_path / "registry.db")
    with pytest.raises(redis.ConnectionError):
        store.get(UserEmbedding, ["u"])
    store.close()


def test_a_redis_that_does_not_answer_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feast_online_features, "REDIS_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = redis_online_store("127.0.0.1", silent.getsockname()[1], 0)
        store = FeastOnlineFeatures(where, tmp_path / "registry.db")
        with pytest.raises(redis.TimeoutError):
            store.get(UserEmbedding, ["u"])
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    store.close()


def test_readers_do_not_wait_for_each_other_while_redis_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feast_online_features, "REDIS_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(8) as pool:
        where = redis_online_store("127.0.0.1", silent.getsockname()[1], 0)
        store = FeastOnlineFeatures(where, tmp_path / "registry.db")
        start = time.monotonic()
        for read in [pool.submit(store.get, UserEmbedding, ["u"]) for _ in range(8)]:
            assert isinstance(read.exception(), redis.TimeoutError)
        assert time.monotonic() - start < 4.0
    store.close()


@pytest.mark.parametrize("password", ["plain", "12345", "true", 'a,b=c:d@e/f"g\\h ü'])
def test_a_password_in_the_url_is_used_and_never_shown(
    redis_url: str, tmp_path: Path, password: str
) -> None:
    url = database(redis_url, 10)
    admin = redis.Redis.from_url(url)
    admin.execute_command(
        "ACL", "SETUSER", "shop", "reset", "on", f">{password}", "allkeys", "allchannels", "+@all"
    )
    where = url.removeprefix("redis://").rpartition("@")[2]
    with_password = f"redis://shop:{quote(password, safe='')}@{where}"
    history = UserHistory("u", (HistoryEvent(1, "e", "i", "view", 0.0),))
    try:
        with closing(open_online_features(with_password, tmp_path / "registry.db")) as online:
            online.push([history])
            assert online.get(UserHistory, ["u"]) == [history]
        wrong = f"redis://shop:{'x' * 12}@{where}"
        with (
            closing(open_online_features(wrong, tmp_path / "registry.db")) as online,
            pytest.raises(redis.RedisError),
        ):
            online.get(UserHistory, ["u"])
        with pytest.raises(StateError) as raised:
            open_stream_state(wrong).partitions()
        assert "x" * 12 not in str(raised.value)
        assert f"redis://shop:***@{where}" in str(raised.value)
    finally:
        admin.execute_command("ACL", "DELUSER", "shop")
        admin.flushdb()
        admin.close()
