"""On a log that is shared out, `riverrun up` knows what the other workers have counted."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.item_statistics import count, nothing
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.times import microseconds
from riverrun import server
from serving.statistics_reader import StatisticsReader
from streaming.sqlite_log import SqliteLog
from tests.support import waiting
from tests.support.stream import NOW
from tests.support.tiny_shop import tiny_shop


class SharedOutLog(SqliteLog):
    """Says that its partitions are shared out, as a broker does."""

    is_shared_out = True


class SharedStore(InMemoryOnlineFeatures):
    """The online store of all workers. What is counted is read once it `answers`."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.reads = 0

    def get(self, view: Any, keys: Sequence[str]) -> list[Any]:
        if view is ItemStatistics:
            assert self.answers.wait(60)
            self.reads += 1
        return super().get(view, keys)


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedStore:
    log, online = SharedOutLog(tmp_path / "log.sqlite"), SharedStore()
    monkeypatch.setattr(server, "open_log", lambda *_: log)
    monkeypatch.setattr(server, "open_online", lambda *_: online)
    monkeypatch.setattr(server, "StatisticsReader", partial(StatisticsReader, every_seconds=0.05))
    return online


@contextmanager
def opened(home: Path) -> Iterator[TestClient]:
    with tiny_shop(home) as shop, TestClient(shop.app) as client:
        yield client


wait_until = partial(waiting.wait_until, seconds=30)


def listed(client: TestClient, source: str) -> list[str]:
    body = {"session": [{"item_id": "i3"}], "sources": [source], "limit": 1}
    answer = client.post("/v1/recommend", json=body).raise_for_status()
    return [item["item_id"] for item in answer.json()["items"]]


def test_what_others_count_after_the_start_is_listed(online: SharedStore, tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        online.push([count(nothing("i17"), "purchase", microseconds(NOW))])
        online.push([CoVisitation("i3", microseconds(NOW), ("i8",), (1.0,))])
        wait_until(lambda: listed(client, "trending") == ["i17"])
        wait_until(lambda: listed(client, "co_visitation") == ["i8"])


def test_what_the_store_had_before_does_not_replace_what_its_own_worker_has_counted(
    online: SharedStore, tmp_path: Path
) -> None:
    event = {"user_id": "u", "item_id": "i5", "event_type": "purchase"}
    with opened(tmp_path) as client:
        wait_until(lambda: client.get("/readyz").is_success)
        client.post("/v1/events", params={"wait": "applied"}, json=event).raise_for_status()
        wait_until(lambda: listed(client, "trending") == ["i5"])
        earlier = microseconds(datetime.now(UTC) - timedelta(hours=1))
        before = count(nothing("i5"), "view", earlier)
        online.push([before, count(nothing("i17"), "purchase", earlier)])
        wait_until(lambda: online.get(ItemStatistics, ["i5"]) == [before])
        reads = online.reads
        wait_until(lambda: online.reads > reads + 2)
        assert listed(client, "trending") == ["i5"]


def test_it_is_not_ready_before_it_has_read_what_is_popular(
    online: SharedStore, tmp_path: Path
) -> None:
    online.answers.clear()
    reading = "Not ready: what is popular is being read."
    with opened(tmp_path) as client:
        wait_until(lambda: client.get("/readyz").json().get("detail") == reading)
        online.answers.set()
        wait_until(lambda: client.get("/readyz").is_success)
