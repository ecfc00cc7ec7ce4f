"""A real Redis that holds the online features alone is emptied, or put back from a copy.

The state beside it is whole.
"""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import redis

from feature_repo.event_log import EVENTS, Message
from feature_repo.history import UserHistory
from feature_repo.online_features import (
    ItemEmbedding,
    ItemStatistics,
    OnlineFeatures,
    UserEmbedding,
)
from feature_repo.open_online_features import open_online_features
from streaming import store_watch
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support import waiting
from tests.support.redis_server import RedisServer
from tests.support.stream import NOW, FakeModel, event
from tests.support.stream_process import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(300)]

USERS = [f"u{number}" for number in range(300)]
ITEMS = [f"i{number}" for number in range(5)]

wait_until = partial(waiting.wait_until, seconds=60)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which comes back empty."""
    made = RedisServer(tmp_path, "--appendonly", "no")
    made.start()
    yield made
    made.kill()


def is_whole(online: OnlineFeatures) -> bool:
    try:
        users = [*online.get(UserHistory, USERS), *online.get(UserEmbedding, USERS)]
        return None not in [*users, *online.get(ItemStatistics, ITEMS)]
    except redis.RedisError:
        return False


def act(log: SqliteLog, first: int) -> None:
    """Let each of the users do one thing."""
    for number, user_id in enumerate(USERS, first):
        made = event(number, user_id, f"i{number % 5}", number)
        log.append(EVENTS, [Message(user_id, made.model_dump_json().encode())])


def test_it_is_filled_again_by_a_start_and_by_a_worker_at_work(
    tmp_path: Path, server: RedisServer
) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    online = open_online_features(server.url, tmp_path / "registry.db")
    act(log, 0)
    with closing(log), closing(online), closing(redis.Redis.from_url(server.url)) as client:
        for round_ in range(2):
            state = SqliteState(tmp_path / "state.sqlite")
            worker = Worker(log, online, state, FakeModel(), settings=SETTINGS, clock=lambda: NOW)
            worker.start()
            wait_until(lambda: is_whole(online), f"start {round_} does not fill the store")
            client.flushdb()
            wait_until(lambda: is_whole(online), "a flush is not noticed")
            server.kill()
            server.start()
            wait_until(lambda: is_whole(online), "a restart is not noticed")
            worker.stop()
            assert worker.failure is None
            state.close()
            client.flushdb()


def test_it_comes_back_with_what_it_was_told_before_its_last_copy(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(store_watch, "RAISE_SECONDS", 0.05)
    log = SqliteLog(tmp_path / "log.sqlite")
    online = open_online_features(server.url, tmp_path / "registry.db")
    state = SqliteState(tmp_path / "state.sqlite")

    def histories() -> list[int]:
        try:
            stored = online.get(UserHistory, USERS)
        except redis.RedisError:
            return []
        return [0 if each is None else len(each.events) for each in stored]

    def age() -> int:
        (stored,) = online.get(ItemEmbedding, [store_watch.AGE_KEYS[0]])
        return 0 if stored is None else int(stored.bundle_version or 0)

    act(log, 0)
    worker = Worker(log, online, state, FakeModel(), settings=SETTINGS, clock=lambda: NOW)
    with closing(log), closing(online), closing(state):
        worker.start()
        wait_until(lambda: histories() == [1] * len(USERS), "the store is not told")
        with closing(redis.Redis.from_url(server.url)) as client:
            client.save()
        act(log, len(USERS))
        wait_until(lambda: histories() == [2] * len(USERS), "the store is not told more")
        copied = age()
        wait_until(lambda: age() >= copied + 4, "the store does not grow old")
        server.kill()
        server.start()
        wait_until(lambda: histories() == [2] * len(USERS), "a copy is not noticed")
        worker.stop()
        assert worker.failure is None
