"""Servers that the environment names: what tests take of them, and which will not do."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.support import kafka_server
from tests.support.redis_server import DATABASES, RedisServer, database, redis_server

Named = Callable[[int], RedisServer]
Taken = Callable[[int], str]


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    """Starts a Redis of so many databases, and names it."""
    with ExitStack() as stack:

        def start(databases: int) -> RedisServer:
            server = RedisServer(tmp_path, "--databases", str(databases))
            server.start()
            stack.callback(server.kill)
            monkeypatch.setenv("RIVERRUN_TEST_REDIS_URL", server.url.removesuffix("/0"))
            return server

        yield start


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Taken]:
    """Gives the URL that a process takes, by number."""
    with ExitStack() as stack:

        def take(process: int) -> str:
            folder = tmp_path / str(process)
            folder.mkdir()
            monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{process}")
            return stack.enter_context(redis_server(folder))

        yield take


def emptied(url: str, number: int) -> None:
    with redis.Redis.from_url(database(url, number)) as client:
        assert client.dbsize() == 0
        client.set("key", url)


@pytest.mark.redis
def test_no_two_processes_share_a_database(named: Named, taken: Taken) -> None:
    server = named(2 * DATABASES)
    urls = [taken(process) for process in range(4)]
    for url in urls:
        for number in range(DATABASES):
            emptied(url, number)
    assert urls[:2] == [server.url, database(server.url, DATABASES)]


@pytest.mark.redis
def test_a_redis_with_too_few_databases_is_refused(named: Named, taken: Taken) -> None:
    named(DATABASES - 1)
    with pytest.raises(RuntimeError, match="must name the first of 16 databases"):
        taken(0)


@pytest.mark.kafka
def test_a_broker_that_takes_no_short_sessions_is_refused(
    kafka_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIVERRUN_TEST_KAFKA", kafka_address)
    with kafka_server.kafka_server(tmp_path) as address:
        assert address == kafka_address
    monkeypatch.setattr(kafka_server, "SESSION_MILLISECONDS", 0)
    with (
        pytest.raises(RuntimeError, match=r"timeout\.ms of at most 0 and .* Received: "),
        kafka_server.kafka_server(tmp_path),
    ):
        pass
