"""A real Redis that holds the online features alone is emptied beside a state that is whole."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import redis

from feature_repo.event_log import EVENTS, Message
from feature_repo.history import UserHistory
from feature_repo.online_features import ItemStatistics, OnlineFeatures, UserEmbedding
from feature_repo.open_online_features import open_online_features
from streaming.build_worker import build_worker
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from tests.support import waiting
from tests.support.redis_server import RedisServer
from tests.support.stream import NOW, HashEncoder, event
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


def test_it_is_filled_again_by_a_start_and_by_a_worker_at_work(
    tmp_path: Path, server: RedisServer
) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    online = open_online_features(server.url, tmp_path / "registry.db")
    for number, user_id in enumerate(USERS):
        made = event(number, user_id, f"i{number % 5}", number)
        log.append(EVENTS, [Message(user_id, made.model_dump_json().encode())])
    with closing(log), closing(online), closing(redis.Redis.from_url(server.url)) as client:
        for round_ in range(2):
            state = SqliteState(tmp_path / "state.sqlite")
            worker = build_worker(
                log, online, state, HashEncoder, settings=SETTINGS, clock=lambda: NOW
            )
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
