"""A log whose broker is killed, frozen, new, or says nothing."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feature_repo.event_log import (
    EVENTS,
    EventLogError,
    LogRecord,
    Message,
    TopicPartition,
)
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_consumer import KafkaLogConsumer
from streaming.kafka_log import REST_SECONDS, KafkaLog
from streaming.kafka_settings import KafkaSettings
from tests.support.draining import drain
from tests.support.kafka_server import KafkaServer, fresh_topics

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of the module's own, to be killed and frozen: every test leaves it at work."""
    server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    server.start()
    yield server
    server.kill()


# kafka-python leaks a socket for every connection that is refused.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_is_killed_is_an_error_until_it_is_back(server: KafkaServer) -> None:
    log = KafkaLog(fresh_topics(server.address, timeout_seconds=2.0))
    consumer = log.consumer("g", [EVENTS])
    log.append(EVENTS, [Message("a", b"before")])
    (record,) = consumer.poll(10, 10.0)
    server.kill()
    with pytest.raises(EventLogError, match="kafka 127"):
        log.append(EVENTS, [Message("a", b"lost?")])
    with pytest.raises(EventLogError, match="kafka 127"):
        consumer.poll(10, 60.0)
    with pytest.raises(EventLogError, match="kafka 127"):
        consumer.commit({record.source: record.offset + 1})
    server.start()
    log.append(EVENTS, [Message("a", b"after")])
    values: list[bytes | None] = []
    while b"after" not in values:
        values += [each.value for each in polled(consumer)]
    # What was in doubt may be there, or not; nothing twice, and nothing out of order.
    assert values in ([b"after"], [b"lost?", b"after"])
    log.close()
    gc.collect()


def test_an_append_that_timed_out_spoils_no_later_one(server: KafkaServer) -> None:
    log = KafkaLog(fresh_topics(server.address, timeout_seconds=2.0))
    log.append(EVENTS, [Message("a", b"before")])
    server.freeze()
    try:
        with pytest.raises(EventLogError, match="kafka 127"):
            log.append(EVENTS, [Message("a", b"lost?")] * 6)
    finally:
        server.thaw()
    log.append(EVENTS, [Message("a", b"after")])
    log.close()


def test_who_asks_a_silent_broker_where_a_log_ends_waits_no_longer_than_was_set(
    server: KafkaServer,
) -> None:
    """Also for a topic that is not there, or not known yet: others wait for the answer."""
    log = KafkaLog(fresh_topics(server.address, timeout_seconds=2.0))
    assert log.ends([EVENTS, "none"]) == {TopicPartition(EVENTS, 0): 0}
    server.freeze()
    start = time.monotonic()
    try:
        with pytest.raises(EventLogError, match="kafka 127"):
            log.ends([EVENTS, "none"])
        assert time.monotonic() - start < 15.0
    finally:
        server.thaw()
        log.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_log_can_be_opened_before_its_broker(server: KafkaServer) -> None:
    connection = fresh_topics(server.address, timeout_seconds=2.0)
    server.stop()
    log = KafkaLog(connection)
    consumer = log.consumer(None, [EVENTS])
    with pytest.raises(EventLogError, match="kafka 127"):
        consumer.poll(10, 0.0)
    with pytest.raises(EventLogError, match="kafka 127"):
        log.append(EVENTS, [Message("a", b"1")])
    server.start()
    log.append(EVENTS, [Message("a", b"2")])
    assert [record.value for record in drain(consumer, 1)] == [b"2"]
    log.close()
    gc.collect()


def test_the_first_to_ask_a_new_broker_where_a_group_is_gets_an_answer(tmp_path: Path) -> None:
    """It has no coordinator of groups until somebody asks: a shop's first start is who asks."""
    server = KafkaServer(tmp_path)
    server.start()
    try:
        log = KafkaLog(fresh_topics(server.address))
        assert log.unread("g", [EVENTS]) == {TopicPartition(EVENTS, 0): 0}
        log.close()
    finally:
        server.kill()


def test_a_broker_that_answers_nothing_leaves_no_thread_behind() -> None:
    """It is tried again for as long as it is away: what every try leaves would add up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        log = KafkaLog(KafkaConnection((address,), settings=KafkaSettings(timeout_seconds=1.0)))
        consumer = log.consumer("g", [EVENTS])
        asks: list[Callable[[], object]] = [
            lambda: log.append(EVENTS, [Message("a", b"1")]),
            lambda: log.ends([EVENTS]),
            lambda: log.unread("g", [EVENTS]),
            lambda: consumer.poll(10, 0.0),
        ]
        for ask in asks:
            with pytest.raises(EventLogError, match="bootstrap"):
                ask()
            assert not kafka_threads()
        log.close()


def test_a_log_that_is_closed_while_it_appends_leaves_no_thread_behind(
    server: KafkaServer,
) -> None:
    log = KafkaLog(fresh_topics(server.address, timeout_seconds=2.0))
    log.append(EVENTS, [Message("a", b"before")])
    assert kafka_threads()
    server.freeze()
    try:
        with ThreadPoolExecutor(1) as pool:
            appending = pool.submit(log.append, EVENTS, [Message("a", b"lost?")] * 6)
            time.sleep(0.2)
            log.close()
            assert isinstance(appending.exception(), EventLogError)
    finally:
        server.thaw()
    deadline = time.monotonic() + 10.0
    while kafka_threads():
        assert time.monotonic() < deadline, kafka_threads()
        time.sleep(0.05)


def kafka_threads() -> list[str]:
    """Name the running threads of kafka-python."""
    return [
        thread.name
        for thread in threading.enumerate()
        if type(thread).__module__.startswith("kafka") or thread.name.startswith("kafka")
    ]


def polled(consumer: KafkaLogConsumer) -> list[LogRecord]:
    """Poll as the worker does: an error is tried again."""
    for _ in range(30):
        try:
            return consumer.poll(10, 1.0)
        except EventLogError:
            continue
    raise AssertionError("the consumer does not recover")


def test_who_appends_while_no_broker_answers_waits_for_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One after the other, the last would wait for all; and nobody who waits looks again."""
    looks = []

    def reach(connection: KafkaConnection) -> None:
        looks.append(connection)
        time.sleep(1.0)
        raise OSError("timed out")

    monkeypatch.setattr(KafkaConnection, "reach", reach)
    log = KafkaLog(parse_kafka_url("kafka://nowhere:9092", KafkaSettings()))

    def append(_: int) -> str:
        with pytest.raises(EventLogError) as raised:
            log.append(EVENTS, [Message("k", b"v")])
        return str(raised.value)

    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        reasons = set(pool.map(append, range(12)))
    assert reasons == {"kafka nowhere:9092: cannot append to 'events': timed out."}
    assert time.monotonic() - start < 2.0
    assert len(looks) == 1
    time.sleep(REST_SECONDS)
    append(0)
    assert len(looks) == 2
    log.close()


def test_who_appends_to_a_frozen_broker_waits_no_longer_than_was_set(server: KafkaServer) -> None:
    """However many others do, and although an append before has given up the producer."""
    log = KafkaLog(fresh_topics(server.address, timeout_seconds=2.0))
    log.append(EVENTS, [Message("a", b"before")])
    server.freeze()

    def append(_: int) -> float:
        start = time.monotonic()
        with pytest.raises(EventLogError, match="kafka 127"):
            log.append(EVENTS, [Message("a", b"lost?")])
        return time.monotonic() - start

    append(0)
    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(append, range(4))) < 3.5
    server.thaw()
    time.sleep(REST_SECONDS)
    log.append(EVENTS, [Message("a", b"after")])
    log.close()


def test_servers_share_the_time_to_find_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def connect(_: object, seconds: float) -> socket.socket:
        waited.append(seconds)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    settings = KafkaSettings(timeout_seconds=6.0)
    with pytest.raises(TimeoutError):
        parse_kafka_url("kafka://a:9092,b:9092,c:9092", settings).reach()
    assert waited == [2.0, 2.0, 2.0]


def test_who_holds_a_record_does_not_wait_for_what_a_broker_keeps_back(
    server: KafkaServer,
) -> None:
    """What was in the log when it was assigned: a poll waits for it until `timeout_seconds`."""
    log = KafkaLog(fresh_topics(server.address, max_fetch_bytes=1_024))
    for number in range(8):
        log.append(EVENTS, [Message(str(number), bytes(2_000))])
    consumer = log.consumer("g", [EVENTS])
    records = consumer.poll(1, 10.0)
    server.freeze()
    try:
        more = None
        while more != []:
            start = time.monotonic()
            more = consumer.more(100, 0.005)
            assert time.monotonic() - start < 1.0
            records += more
    finally:
        server.thaw()
    assert len(records) < 8
    assert len(records + drain(consumer, 8 - len(records))) == 8
    log.close()
