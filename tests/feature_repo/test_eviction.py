"""A Redis that removes keys to make room is named once, by whoever reads from it first."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.open_online_features import open_online_features
from riverrun.settings import load_settings
from riverrun.stream_parts import _warn_of_eviction
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[Any]:
    with closing(redis.Redis.from_url(server.url)) as client:
        yield client


def warnings_of_a_start(url: str, folder: Path) -> list[Any]:
    with capture_logs() as logs, closing(open_online_features(url, folder / "registry.db")) as it:
        assert logs == []
        for _ in range(2):
            assert it.get(UserHistory, ["nobody"]) == [None]
        it.push([UserHistory("u", (HistoryEvent(1, "e", "i", "view", 0.0),))])
    return [each for each in logs if each["event"] == "redis_evicts"]


@pytest.mark.parametrize(
    ("maxmemory", "policy", "is_named"),
    [
        ("100mb", "allkeys-lru", True),
        ("100mb", "allkeys-random", True),
        ("100mb", "noeviction", False),
        # Only keys that expire, and none does.
        ("100mb", "volatile-lru", False),
        # Without a limit there is always room.
        ("0", "allkeys-lru", False),
    ],
)
def test_a_redis_that_removes_our_keys_is_named(
    tmp_path: Path, server: RedisServer, admin: Any, maxmemory: str, policy: str, is_named: bool
) -> None:
    admin.config_set("maxmemory", maxmemory)
    admin.config_set("maxmemory-policy", policy)
    warnings = warnings_of_a_start(server.url, tmp_path)
    assert len(warnings) == is_named
    for each in warnings:
        assert each["maxmemory_policy"] == policy
        assert each["server"] == f"online store {server.url}"
    assert {admin.ttl(key) for key in admin.scan_iter()} == {-1}


def test_one_that_does_not_tell_is_believed(
    tmp_path: Path, server: RedisServer, admin: Any
) -> None:
    admin.config_set("maxmemory", "100mb")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.execute_command(
        "ACL", "SETUSER", "shop", "reset", "on", ">secret", "~*", "+@all", "-info", "-config"
    )
    url = server.url.replace("//", "//shop:secret@")
    assert warnings_of_a_start(url, tmp_path) == []
    admin.execute_command("ACL", "SETUSER", "shop", "+info")
    (warning,) = warnings_of_a_start(url, tmp_path)
    assert "secret" not in str(warning)


def test_a_redis_of_the_state_alone_is_named_too(
    tmp_path: Path, server: RedisServer, admin: Any
) -> None:
    admin.config_set("maxmemory", "100mb")
    admin.config_set("maxmemory-policy", "allkeys-lfu")
    own = load_settings(home=tmp_path, state_url=server.url)
    # The online store names its Redis by itself.
    shared = load_settings(home=tmp_path, state_url=server.url, online_url=server.url)
    with capture_logs() as logs:
        for settings in (own, shared, load_settings(home=tmp_path)):
            _warn_of_eviction(settings)
    assert [each["server"] for each in logs] == [f"state {server.url}"]
