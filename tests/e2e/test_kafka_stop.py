"""SIGTERM to a real `riverrun stream` while one server is gone and the other answers nothing."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.event_log import EVENTS, Message
from riverrun.settings import load_settings
from streaming.kafka_log import KafkaLog
from tests.support.forked_command import stopped
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_stream import KafkaShop, wait_until
from tests.support.redis_server import RedisServer
from tests.support.stream import event
from tests.support.tiny_bundle import build_tiny_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

STOP_SECONDS = 10.0
NUMBER_OF_EVENTS = 600


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, KafkaServer | RedisServer]]:
    """A broker and a Redis of the module's own; both keep their data."""
    kafka, redis = (tmp_path_factory.mktemp(name) for name in ("kafka", "redis"))
    started: dict[str, KafkaServer | RedisServer] = {
        "kafka": KafkaServer(kafka),
        "redis": RedisServer(redis, "--appendonly", "yes", "--appendfsync", "always"),
    }
    try:
        for server in started.values():
            server.start()
        yield started
    finally:
        for server in started.values():
            server.kill()


@pytest.fixture
def shop(tmp_path: Path, servers: dict[str, KafkaServer | RedisServer]) -> Iterator[KafkaShop]:
    kafka, redis = servers["kafka"], servers["redis"]
    assert isinstance(kafka, KafkaServer)
    assert isinstance(redis, RedisServer)
    shop = KafkaShop(tmp_path / "shop", kafka.address, redis.url, max_history=1_000)
    build_tiny_bundle(load_settings(shop.settings_file).bundles)
    yield shop
    shop.close()


def send(shop: KafkaShop, numbers: range) -> None:
    made = [event(n, f"u{n % 8}", f"i{n % 10}", n) for n in numbers]
    messages = [Message(each.user_id, each.model_dump_json().encode()) for each in made]
    shop.log.append(EVENTS, messages)


def ended(
    shop: KafkaShop,
    servers: dict[str, KafkaServer | RedisServer],
    done: dict[str, str],
    *,
    seen: range,
    unseen: range,
) -> tuple[int | None, str]:
    """Stop a worker after `done` was done to servers; return its status and what it has said.

    seen: events that it has committed before; unseen: those that came just before the stop.
    """
    send(shop, seen)
    with shop.started("stream") as worker:
        wait_until(lambda: shop.reached() >= len(seen), "the worker commits nothing")
        if unseen:
            send(shop, unseen)
        shop.log.close()
        for name, how in done.items():
            servers[name].kill() if how == "killed" else servers[name].freeze()
        time.sleep(1.0)
        try:
            status = stopped(worker, signal.SIGTERM, STOP_SECONDS)
        finally:
            for name, how in done.items():
                servers[name].start() if how == "killed" else servers[name].thaw()
    return status, shop.output()


@pytest.mark.parametrize(
    "done",
    [{"kafka": "killed", "redis": "frozen"}, {"kafka": "frozen", "redis": "killed"}],
    ids=str,
)
def test_a_worker_whose_servers_are_gone_stops_in_time_and_loses_nothing(
    shop: KafkaShop, servers: dict[str, KafkaServer | RedisServer], done: dict[str, str]
) -> None:
    half = NUMBER_OF_EVENTS // 2
    status, said = ended(shop, servers, done, seen=range(half), unseen=range(half, 2 * half))
    assert status == 1, said
    assert "Nothing is lost" in said
    assert "Traceback" not in said
    shop.log = KafkaLog(shop.connection)
    last = shop.start()
    shop.settle()
    last.stop()
    state = shop.state()
    happened = {f"e{n}" for n in range(NUMBER_OF_EVENTS)}
    assert {e.event_id for each in state["histories"].values() for e in each.events} == happened
    assert {row[0] for row in state["events"]} == happened
    counted = sum(sum(each.week) for each in state["statistics"].values())
    assert 0.9 * NUMBER_OF_EVENTS < counted <= NUMBER_OF_EVENTS


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_worker_without_a_broker_stops_in_time(
    shop: KafkaShop, servers: dict[str, KafkaServer | RedisServer], how: str
) -> None:
    every = range(NUMBER_OF_EVENTS)
    status, said = ended(shop, servers, {"kafka": how}, seen=every, unseen=range(0))
    # Nothing was left to be done, but who reads the log may still wait for it.
    assert status in (0, 1), said
    assert "Traceback" not in said
