"""A replica whose Kafka is away, or has no topics yet."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from feature_repo.event_log import EventLogError
from riverrun import server
from riverrun.bench.server import free_port
from riverrun.server import serving_replica
from riverrun.settings import load_settings
from serving.index_follower import IndexFollower
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.waiting import wait_until


def why_not_ready(home: Path, log_url: str, reason: str) -> str:
    """Return what `/readyz` says once it holds `reason`."""
    settings = load_settings(home=home, log_url=log_url, online_url="memory://")
    build_tiny_bundle(settings.bundles)
    said: list[str] = []

    def says() -> bool:
        answer = client.get("/readyz")
        said.append(answer.json()["detail"])
        return answer.status_code == 503 and reason in said[-1]

    with serving_replica(settings) as app, TestClient(app) as client:
        wait_until(says, seconds=60)
    return said[-1]


def test_it_says_that_no_broker_answers(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    said = why_not_ready(tmp_path, f"kafka://{address}/shop", "Connection refused")
    assert said.startswith(f"Not ready: the item changelog cannot be read: kafka {address}: ")


@pytest.mark.kafka
def test_it_says_which_command_creates_the_topics(tmp_path: Path, kafka_address: str) -> None:
    said = why_not_ready(tmp_path, f"kafka://{kafka_address}/no-shop", "riverrun topics create")
    assert "there is no topic 'no-shop.item-embeddings'" in said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            EventLogError("redis://me:hunter2@host:6379/0 does not answer."),
            "cannot be read: redis://me:***@host:6379/0 does not answer",
        ),
        (TypeError("unhashable type: 'dict'"), "cannot be followed; the log says why"),
    ],
)
def test_it_shows_neither_password_nor_what_is_wrong_in_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    class Follower(IndexFollower):
        def _run(self) -> None:
            self.last_error = error

    monkeypatch.setattr(server, "IndexFollower", Follower)
    said = why_not_ready(tmp_path, "", "the item changelog cannot")
    assert f"the item changelog {reason}" in said
    assert str(error).rstrip(".") not in said


def test_one_that_is_ready_says_that_it_follows_items_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Follower(IndexFollower):
        def _run(self) -> None:
            self.caught_up = True
            self.last_error = EventLogError("kafka broker:9092: cannot be read.")

    monkeypatch.setattr(server, "IndexFollower", Follower)
    settings = load_settings(home=tmp_path, online_url="memory://")
    build_tiny_bundle(settings.bundles)
    with serving_replica(settings) as app, TestClient(app) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, seconds=60)
        assert client.get("/readyz").json()["degraded"] == [
            "the item changelog cannot be read: kafka broker:9092: cannot be read"
        ]
