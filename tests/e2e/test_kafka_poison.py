"""Records that nobody can use, in the middle of good ones: kept with a reason, and put back."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaProducer

from feature_repo.event_log import EVENTS
from streaming.dead_letters import dead_letters
from tests.support.kafka_stream import KafkaShop
from tests.support.redis_server import database
from tests.support.stream import event

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kafka,
    pytest.mark.redis,
    pytest.mark.timeout(600),
]

LARGE = 10 * 2**20


@pytest.fixture
def shop(tmp_path: Path, kafka_address: str, redis_url: str) -> Iterator[KafkaShop]:
    shop = KafkaShop(
        tmp_path / "shop", kafka_address, database(redis_url, 2),
        partitions=1, max_message_bytes=12 * 2**20,
    )  # fmt: skip
    yield shop
    shop.close()


def good(number: int, kind: str = "view") -> tuple[bytes | None, bytes]:
    made = event(number, "u1", f"i{number}", number, kind)
    return b"u1", made.model_dump_json().encode()


NO_TEXT = (b"u1", b"\xff\xfe\x00")
TOO_LARGE = (b"u1", b"x" * LARGE)
UNKNOWN_TYPE = good(3, "dance")
NO_KEY = (None, good(4)[1])
KEY_NO_TEXT = (b"\xff\xfe", good(5)[1])
KEY_OF_ANOTHER = (b"u2", good(6)[1])
NO_VALUE = (b"u1", None)
POISON = [NO_TEXT, TOO_LARGE, UNKNOWN_TYPE, NO_KEY, KEY_NO_TEXT, KEY_OF_ANOTHER, NO_VALUE]
REASONS = [
    "JSON",
    "JSON",
    "`event_type` must be one of cart, purchase, view. Received: dance.",
    "the key is null.",
    "`user_id` is 'u1' but the key is '\\udcff\\udcfe'.",
    "`user_id` is 'u1' but the key is 'u2'.",
    "the value is null: an event cannot be deleted.",
]


def send(shop: KafkaShop, records: list[tuple[bytes | None, bytes | None]]) -> None:
    """Send as a stranger does, who knows only Kafka."""
    producer = KafkaProducer(
        bootstrap_servers=list(shop.connection.servers), max_request_size=2 * LARGE
    )
    name = shop.connection.topic(EVENTS)
    for sent in [producer.send(name, key=key, value=value) for key, value in records]:
        sent.get(30)
    producer.close()


def seen(shop: KafkaShop) -> list[str]:
    """Return the items of the user's history."""
    history = shop.state()["histories"]["u1"]
    return [each.item_id for each in history.events]


def test_poison_stops_nothing_and_can_be_put_back(shop: KafkaShop) -> None:
    send(shop, [good(1), *POISON, good(2)])
    worker = shop.start()
    shop.settle()
    assert seen(shop) == ["i1", "i2"]
    letters = list(dead_letters(shop.log))
    for letter, reason, (key, value) in zip(letters, REASONS, POISON, strict=True):
        assert reason in letter.reason
        assert len(letter.reason) < 1_000
        assert letter.record.value == value
        text = letter.record.key
        assert (None if text is None else text.encode("utf-8", "surrogateescape")) == key
    worker.stop()

    assert f"{len(POISON)} records were put back" in shop.run("dead-letters", "replay")
    # One of the reasons is mended; the others remain.
    shop.settings = shop.settings.model_copy(update={"event_types": ()})
    worker = shop.start()
    shop.settle()
    worker.stop()
    assert seen(shop) == ["i1", "i2", "i3"]
    again = Counter(letter.record.value for letter in dead_letters(shop.log))
    assert again == Counter({value: 1 if value == UNKNOWN_TYPE[1] else 2 for _, value in POISON})
    assert f"{len(POISON) - 1} records were put back" in shop.run("dead-letters", "replay")


def test_records_beyond_the_settings_in_a_topic_that_allows_them_stop_nothing(
    shop: KafkaShop,
) -> None:
    key, valid = good(3)
    send(shop, [good(1), TOO_LARGE, (key, valid + b" " * LARGE), good(2)])
    small = shop.connection.settings.model_copy(update={"max_message_bytes": 2**20})
    shop.connection = replace(shop.connection, settings=small)
    shop.settings = shop.settings.model_copy(update={"kafka": small})
    worker = shop.start()
    shop.settle()
    worker.stop()
    assert seen(shop) == ["i1", "i2"]
    letters = list(dead_letters(shop.log))
    assert [letter.is_whole for letter in letters] == [False, False]
    assert all("the value must be at most" in letter.reason for letter in letters)
