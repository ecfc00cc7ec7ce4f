"""A replica that starts while Redis is away."""

from pathlib import Path

from fastapi.testclient import TestClient

from riverrun.bench.server import free_port
from riverrun.server import serving_replica
from riverrun.settings import load_settings
from serving.statistics_reader import AWAY
from tests.support.tiny_shop import tiny_shop
from tests.support.waiting import wait_until


def test_a_replica_that_starts_while_redis_is_away_serves_and_says_so(tmp_path: Path) -> None:
    with tiny_shop(tmp_path):
        pass
    away = f"redis://127.0.0.1:{free_port()}/0"
    settings = load_settings(home=tmp_path, online_url=away)
    with serving_replica(settings) as app, TestClient(app) as client:
        wait_until(lambda: client.get("/readyz").is_success, seconds=60)
        assert client.get("/readyz").json()["degraded"] == [AWAY]
        assert client.post("/v1/recommend", json={"limit": 3}).json()["items"]
