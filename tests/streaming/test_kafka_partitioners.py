"""Producers that place keys by another hash than murmur2 are noticed, and others are not."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.partitioner.abc import Partitioner
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from feature_repo.event_log import DEAD_LETTERS, EVENTS, ITEMS, USERS, ForeignFedLog, Message
from streaming.kafka_log import PARTITIONER, KafkaLog
from streaming.metrics import StreamMetrics
from tests.support.kafka_server import fresh_topics, more_partitions
from tests.support.waiting import wait_until

pytestmark = pytest.mark.kafka

KEYS = [f"u{number}" for number in range(40)]
PARTITIONS = 4


class Crc32(Partitioner):
    """librdkafka's default, `consistent_random`, of records that have a key."""

    def partition(
        self, topic: str, key: Any, serialized_key: bytes, value: Any, serialized: Any, cluster: Any
    ) -> int:
        return zlib.crc32(serialized_key) % len(cluster.partitions_for_topic(topic))


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaLog]:
    with closing(KafkaLog(fresh_topics(kafka_address, partitions=PARTITIONS))) as log:
        yield log


def read(log: KafkaLog, topic: str, count: int) -> list[str | None]:
    with closing(log.consumer("g", [topic])) as consumer:
        keys: list[str | None] = []
        while len(keys) < count and (records := consumer.poll(10, 10.0)):
            keys += [record.key for record in records]
    return keys


def own(log: KafkaLog, topic: str) -> None:
    log.append(topic, [Message(key, b"{}") for key in KEYS])


def foreign(log: KafkaLog, topic: str) -> None:
    servers = list(log._connection.servers)
    producer = KafkaProducer(bootstrap_servers=servers, partitioner=Crc32())
    for key in KEYS:
        producer.send(log._connection.topic(topic), key=key.encode(), value=b"{}")
    producer.close()


@pytest.mark.parametrize("topic", [EVENTS, USERS])
def test_one_who_hashes_otherwise_is_named_once_and_counted(log: KafkaLog, topic: str) -> None:
    assert isinstance(log, ForeignFedLog)
    metrics = StreamMetrics()
    metrics.misplaced.counts = log.misplaced
    foreign(log, topic)
    with capture_logs() as lines:
        assert sorted(map(str, read(log, topic, len(KEYS)))) == sorted(KEYS)
    (line,) = [each for each in lines if each["event"] == "keys_are_placed_by_another_hash"]
    assert (line["topic"], line["wanted"]) == (topic, PARTITIONER)
    assert log.misplaced[topic] > 1
    exported = generate_latest(metrics.registry).decode()
    number = float(log.misplaced[topic])
    assert f'riverrun_stream_misplaced_records_total{{topic="{topic}"}} {number}' in exported


def test_a_topic_with_more_partitions_than_there_were_is_not_taken_for_another_hash(
    log: KafkaLog,
) -> None:
    with closing(log.consumer("g", [EVENTS])) as consumer, capture_logs() as lines:
        consumer.poll(1, 10.0)
        more_partitions(log._connection, EVENTS, PARTITIONS + 2)
        own(log, EVENTS)
        wait_until(lambda: consumer.poll(10, 1.0) == [] and log.misplaced != {}, seconds=30)
    (line,) = [each for each in lines if each["event"] == "partitions_were_raised"]
    assert line["topic"] == EVENTS
    assert line["partitions"] == {EVENTS: PARTITIONS + 2, ITEMS: PARTITIONS, USERS: PARTITIONS}
    assert "keys_are_placed_by_another_hash" not in [each["event"] for each in lines]


@pytest.mark.parametrize(("topic", "send"), [(EVENTS, own), (DEAD_LETTERS, foreign)])
def test_nobody_else_is(log: KafkaLog, topic: str, send: Callable[[KafkaLog, str], None]) -> None:
    send(log, topic)
    assert len(read(log, topic, len(KEYS))) == len(KEYS)
    assert log.misplaced == {}
