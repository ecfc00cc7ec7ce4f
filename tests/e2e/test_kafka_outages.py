"""A broker or a Redis that dies in the middle of a batch, and what comes back of it."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_repo.online_features import CoVisitation, ItemStatistics
from streaming.worker import TOPICS
from tests.support.kafka_server import KafkaServer
from tests.support.kafka_stream import KafkaShop, undisturbed, wait_until
from tests.support.redis_server import RedisServer, database
from tests.support.traffic import make_requests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

SEED = 20260304
REQUESTS = 150
OUTAGES = 2


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, to be killed."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    server = KafkaServer(folder)
    server.start()
    yield server
    server.kill()


def own_redis(folder: Path, *options: str) -> RedisServer:
    folder.mkdir()
    server = RedisServer(folder, *options)
    server.start()
    return server


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that comes back with all that it has acknowledged."""
    server = own_redis(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.kill()


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that comes back empty."""
    server = own_redis(tmp_path / "redis", "--appendonly", "no")
    yield server
    server.kill()


def test_a_broker_killed_in_the_middle_loses_nothing(
    tmp_path: Path, kafka_address: str, redis_url: str, broker: KafkaServer
) -> None:
    draw = random.Random(SEED)
    requests = make_requests(REQUESTS, SEED)
    calm = KafkaShop(tmp_path / "calm", kafka_address, database(redis_url, 1))
    expected = undisturbed(calm, requests)
    shop = KafkaShop(tmp_path / "shop", broker.address, database(redis_url, 2), timeout_seconds=2.0)
    shop.send(requests)
    sent = sum(shop.log.ends(TOPICS).values())
    worker = shop.start()
    for _ in range(OUTAGES):
        before = shop.reached()
        with shop.disconnected():
            wait_until(lambda before=before: shop.reached() > before, "the worker commits nothing")
            time.sleep(draw.uniform(0, 0.02))
            broker.kill()
            # In the middle: a part of the log is not read.
            assert shop.reached() < sent
            broker.start()
    shop.settle()
    worker.stop()
    assert shop.state() == expected
    shop.close()


def test_a_redis_that_comes_back_with_its_data_is_a_pause(
    tmp_path: Path, kafka_address: str, redis_url: str, keeping: RedisServer
) -> None:
    draw = random.Random(SEED + 1)
    requests = make_requests(REQUESTS, SEED + 1)
    calm = KafkaShop(tmp_path / "calm", kafka_address, database(redis_url, 1))
    expected = undisturbed(calm, requests)
    shop = KafkaShop(tmp_path / "shop", kafka_address, keeping.url)
    worker = shop.start()
    size = len(requests) // (OUTAGES + 1)
    for number in range(OUTAGES):
        before = shop.reached()
        shop.send(requests[number * size : (number + 1) * size])
        wait_until(lambda before=before: shop.reached() > before, "the worker commits nothing")
        time.sleep(draw.uniform(0, 0.02))
        keeping.kill()
        time.sleep(draw.uniform(0, 1))
        keeping.start()
    shop.send(requests[OUTAGES * size :])
    shop.settle()
    worker.stop()
    assert shop.state() == expected
    shop.close()


@pytest.mark.parametrize("archived", [True, False])
def test_a_redis_that_comes_back_empty_stops_the_worker_until_it_is_rebuilt(
    tmp_path: Path, kafka_address: str, redis_url: str, forgetful: RedisServer, archived: bool
) -> None:
    requests = make_requests(REQUESTS, SEED + 2)
    calm = KafkaShop(tmp_path / "calm", kafka_address, database(redis_url, 1), max_history=1_000)
    expected = undisturbed(calm, requests)
    shop = KafkaShop(tmp_path / "shop", kafka_address, forgetful.url, max_history=1_000)
    shop.send(requests[:100])
    worker = shop.start()
    wait_until(lambda: shop.reached() > 0, "the worker commits nothing")
    if archived:
        shop.settle()
    forgetful.kill()
    forgetful.start()
    shop.send(requests[100:])
    assert "`riverrun rebuild`" in str(worker.failure())
    # Neither does a new one begin with nothing.
    assert "`riverrun rebuild`" in str(shop.start().failure())
    shop.run("rebuild")
    last = shop.start()
    shop.settle()
    last.stop()
    assert comparable(shop.state()) == comparable(expected)
    shop.close()


def comparable(state: dict[str, Any]) -> dict[str, Any]:
    """What a rebuild makes again: no embeddings nor what moves them; sums, in another order."""
    made = {key: each for key, each in state.items() if not key.endswith("Embedding")}
    del made["fold_in"]
    made["changelog"] = {key: value is None for key, value in state["changelog"].items()}
    made["statistics"] = {key: rounded(each) for key, each in state["statistics"].items()}
    made["ItemStatistics"] = [each and rounded(each) for each in state["ItemStatistics"]]
    made["co_visitation"] = {key: weights(each) for key, each in state["co_visitation"].items()}
    made["CoVisitation"] = [each and weights(each) for each in state["CoVisitation"]]
    return made


def weights(beside: CoVisitation) -> Any:
    pairs = zip(beside.neighbour_ids, beside.weights, strict=True)
    return beside.timestamp, {neighbour: round(weight, 6) for neighbour, weight in pairs}


def rounded(statistics: ItemStatistics) -> Any:
    counts = zip(statistics.hour, statistics.day, statistics.week, strict=True)
    rows = [[round(each, 6) for each in row] for row in counts]
    return statistics.timestamp, dict(zip(statistics.event_types, rows, strict=True))
