"""What a transaction wrote counts once it is committed, and never where it is aborted."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    USERS,
    LogConsumer,
    LogRecord,
    Message,
    TopicPartition,
)
from feature_repo.log_records import encode_record
from streaming.imports import Unarchived
from streaming.kafka_log import KafkaLog
from streaming.lag_monitor import LagMonitor
from streaming.settings import StreamingSettings
from streaming.sqlite_state import SqliteState
from streaming.worker import TOPICS, Worker
from tests.support import waiting
from tests.support.kafka_server import fresh_topics
from tests.support.stream import NOW, FakeModel, MemoryOnline, event, item

pytestmark = pytest.mark.kafka

wait_until = partial(waiting.wait_until, seconds=30.0)
SOURCE = TopicPartition(EVENTS, 0)


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaLog]:
    log = KafkaLog(fresh_topics(kafka_address))
    yield log
    log.close()


@pytest.fixture
def transactions(log: KafkaLog) -> Iterator["Transactions"]:
    transactions = Transactions(log)
    yield transactions
    transactions.producer.close()


class Transactions:
    """A producer of somebody else, which writes in transactions."""

    def __init__(self, log: KafkaLog) -> None:
        self._topic = log._connection.topic
        self.producer: Any = KafkaProducer(
            bootstrap_servers=list(log._connection.servers),
            transactional_id=log._connection.prefix,
            acks="all",
        )
        self.producer.init_transactions()

    def begin(self, *messages: tuple[str, str, bytes | None]) -> None:
        """Write messages, each a topic, a key and a value, without a decision about them."""
        self.producer.begin_transaction()
        for topic, key, value in messages:
            self.producer.send(self._topic(topic), key=key.encode(), value=value).get(10)

    def commit(self, *messages: tuple[str, str, bytes | None]) -> None:
        self.begin(*messages)
        self.producer.commit_transaction()

    def abort(self, *messages: tuple[str, str, bytes | None]) -> None:
        self.begin(*messages)
        self.producer.abort_transaction()


def drain(consumer: LogConsumer) -> list[LogRecord]:
    records: list[LogRecord] = []
    while more := consumer.poll(100, 0.0):
        records += more
    return records


def polled(consumer: LogConsumer, count: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while len(records) < count and (more := consumer.poll(count, 10.0)):
        records += more
    return records


def values(records: list[LogRecord]) -> list[str]:
    return [(record.value or b"").decode() for record in records]


@pytest.mark.parametrize(
    ("decisions", "group"),
    [("ca", None), ("cac", "g"), ("aca", "g"), ("a", None), ("aa", "g"), ("cpaap", None)],
)
def test_what_is_read_is_what_was_committed_and_the_ends_are_after_it(
    log: KafkaLog, transactions: Transactions, decisions: str, group: str | None
) -> None:
    """By a transaction that was committed or aborted, or by a plain append."""
    for number, decision in enumerate(decisions):
        value = f"{decision}{number}".encode()
        if decision == "p":
            log.append(EVENTS, [Message("u", value)])
        else:
            decide = transactions.commit if decision == "c" else transactions.abort
            decide((EVENTS, "u", value), (EVENTS, "u", value))
    with closing(log.consumer(group, [EVENTS])) as consumer:
        records = drain(consumer)
        written = [(f"{each}{number}", each) for number, each in enumerate(decisions)]
        assert values(records) == [
            value for value, each in written if each != "a" for _ in range(1 + (each == "c"))
        ]
        end = max((record.offset + 1 for record in records), default=0)
        wait_until(
            lambda: not consumer.poll(1, 0.0) and log.ends([EVENTS]) == {SOURCE: end},
            "what holds no record counts as unread",
        )
    log.append(EVENTS, [Message("u", b"last")])
    (after,) = log.ends([EVENTS]).values()
    with closing(log.consumer(None, [EVENTS], lambda _: {SOURCE: end})) as late:
        (record,) = drain(late)
    assert (record.value, record.offset + 1) == (b"last", after)


def test_an_open_transaction_holds_back_what_follows_it_and_nobody_waits_for_it(
    log: KafkaLog, transactions: Transactions
) -> None:
    log.append(EVENTS, [Message("u", b"before")])
    transactions.begin((EVENTS, "u", b"open"))
    (beyond,) = log.append(EVENTS, [Message("u", b"behind")]).values()
    consumer = log.consumer("g", [EVENTS])
    assert values(drain(consumer)) == ["before"]
    assert log.ends([EVENTS]) == {SOURCE: 1}
    # A group that was moved to the end of the partition is where the log has records.
    ahead = log.consumer("h", [EVENTS], lambda _: {SOURCE: beyond})
    assert drain(ahead) == []
    transactions.producer.commit_transaction()
    log.append(EVENTS, [Message("u", b"after")])
    assert values(polled(consumer, 3)) == ["open", "behind", "after"]
    assert values(polled(ahead, 1)) == ["after"]


def test_what_was_aborted_changes_nothing_and_leaves_no_lag(
    log: KafkaLog, transactions: Transactions, tmp_path: Path
) -> None:
    """An event that did not happen, a price that never was, an erasure that nobody asked for."""
    state = SqliteState(tmp_path / "state.sqlite")
    settings = StreamingSettings(kafka=log._connection.settings)
    worker = Worker(log, MemoryOnline(), state, FakeModel(), settings=settings, clock=lambda: NOW)
    lag = LagMonitor(log, worker, worker.metrics)
    free = item(1).model_copy(update={"price": 0.0})
    transactions.commit(
        (EVENTS, "u", encode_record(event(1))), (ITEMS, "i1", encode_record(item(1)))
    )
    transactions.abort((USERS, "u", None), (ITEMS, "i1", encode_record(free)))
    transactions.abort((EVENTS, "u", encode_record(event(2))))
    worker.start()
    try:
        wait_until(lambda: len(worker.positions) == 2, "the worker reads nothing")
        wait_until(lambda: lag.measure() == 0, "the worker is behind though it has read it all")
    finally:
        worker.stop()
    assert worker.failure is None
    found = state.load(0, ["u"], ())
    assert [each.event_id for each in found.histories["u"].events] == ["e1"]
    assert found.erasures == {}
    assert state.items(["i1"]) == {"i1": item(1)}
    assert Unarchived.of(log) == (set(), set(), {"i1"})
    assert sum(log.ends(TOPICS).values()) == 2
    state.close()
