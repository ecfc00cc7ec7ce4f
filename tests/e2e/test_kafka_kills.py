"""Workers on a Kafka and a Redis under kill -9, alone and in a group that never rests."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka_stream import (
    KafkaShop,
    WorkerProcess,
    kill_at_work,
    kill_joining,
    kill_taking_over,
    undisturbed,
)
from tests.support.redis_server import database
from tests.support.traffic import make_requests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

SEED = 20260203
KILLS = [kill_at_work] * 25 + [kill_taking_over] * 17 + [kill_joining] * 8
REBALANCES = 24
REQUESTS_A_ROUND = 12


@pytest.fixture
def calm(tmp_path: Path, kafka_address: str, redis_url: str) -> KafkaShop:
    return KafkaShop(tmp_path / "calm", kafka_address, database(redis_url, 1))


@pytest.fixture
def shop(tmp_path: Path, kafka_address: str, redis_url: str) -> Iterator[KafkaShop]:
    shop = KafkaShop(tmp_path / "shop", kafka_address, database(redis_url, 2))
    yield shop
    shop.close()


def test_killed_at_random_moments_it_ends_as_if_never_killed(
    calm: KafkaShop, shop: KafkaShop
) -> None:
    draw = random.Random(SEED)
    kills = draw.sample(KILLS, len(KILLS))
    requests = make_requests(len(kills) * REQUESTS_A_ROUND, SEED)
    expected = undisturbed(calm, requests)
    for number, kill in enumerate(kills):
        shop.send(requests[number * REQUESTS_A_ROUND : (number + 1) * REQUESTS_A_ROUND])
        kill(shop, shop.start(), draw)
    last = shop.start()
    shop.settle()
    last.stop()
    assert shop.state() == expected


@pytest.mark.parametrize("members", [2, 3])
def test_a_group_that_never_rests_ends_as_one_worker_alone(
    calm: KafkaShop, shop: KafkaShop, members: int
) -> None:
    draw = random.Random(SEED + members)
    requests = make_requests(REBALANCES * REQUESTS_A_ROUND, SEED + members)
    expected = undisturbed(calm, requests)
    group: list[WorkerProcess] = []
    for number in range(REBALANCES):
        shop.send(requests[number * REQUESTS_A_ROUND : (number + 1) * REQUESTS_A_ROUND])
        while len(group) < members:
            group.append(shop.start())
        time.sleep(draw.uniform(0, 1.0))  # at any stage of the rebalance
        leaver = group.pop(draw.randrange(members))
        if draw.random() < 0.5:
            leaver.kill()
        else:
            leaver.stop()
    group.append(shop.start())
    shop.settle()
    for worker in group:
        worker.stop()
    assert shop.state() == expected
