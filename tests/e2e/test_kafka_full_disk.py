"""The archive's disk is full: the stream goes on, and is archived once there is room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streaming.worker import TOPICS
from tests.support.kafka_stream import KafkaShop, undisturbed, wait_until
from tests.support.redis_server import database
from tests.support.small_disk import small_disk
from tests.support.traffic import make_requests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

SEED = 20260405
REQUESTS = 60
DISK = "2m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", DISK) as folder:
        yield folder


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4_096))
        except OSError:
            pass


def test_what_the_disk_did_not_take_is_archived_once_there_is_room(
    tmp_path: Path, disk: Path, kafka_address: str, redis_url: str
) -> None:
    requests = make_requests(REQUESTS, SEED)
    calm = KafkaShop(tmp_path / "calm", kafka_address, database(redis_url, 1))
    expected = undisturbed(calm, requests)
    shop = KafkaShop(tmp_path / "shop", kafka_address, database(redis_url, 2))
    (shop.home / "archive").symlink_to(disk)
    fill(disk / "filler")
    shop.send(requests)
    worker = shop.start()
    total = sum(shop.log.ends(TOPICS).values())
    wait_until(lambda: shop.reached() == total, "the worker does not go on")
    wait_until(lambda: "No space left on device" in shop.output(), "the archiver does not say so")
    assert shop.archive.positions.read() == {}
    (disk / "filler").unlink()
    shop.settle()
    worker.stop()
    assert shop.state() == expected
    # Nothing of the failed attempts is left.
    assert not [file for file in disk.rglob(".*") if file.is_file()]
    shop.close()
