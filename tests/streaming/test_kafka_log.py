"""What is Kafka's own: foreign producers, brokers that go and come back, topics, positions."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka import TopicPartition as Place
from kafka.errors import KafkaTimeoutError, RebalanceInProgressError

from feature_repo.archive import Archive
from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    USERS,
    EventLogError,
    LogRecord,
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.history import UserHistory
from streaming.build_worker import build_worker
from streaming.dead_letters import DeadLetter, dead_letters, encode_dead_letter, replay
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_consumer import KafkaLogConsumer
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from streaming.materialise import materialise
from streaming.rebuild import rebuild
from streaming.sqlite_state import SqliteState
from streaming.stream_state import positions_of
from streaming.worker import TOPICS
from tests.support.kafka_server import KafkaServer, fresh_topics
from tests.support.stream import NOW, HashEncoder, MemoryOnline, event

pytestmark = pytest.mark.kafka


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaLog]:
    log = KafkaLog(fresh_topics(kafka_address, max_message_bytes=12 * 2**20))
    yield log
    log.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, to be killed."""
    server = KafkaServer(tmp_path)
    server.start()
    yield server
    server.kill()


def drain(consumer: KafkaLogConsumer, count: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while len(records) < count and (more := consumer.poll(100, 10.0)):
        records += more
    return records


def test_keys_that_are_no_text_are_kept(log: KafkaLog) -> None:
    producer = KafkaProducer(bootstrap_servers=list(log._connection.servers))
    name = log._connection.topic(EVENTS)
    for key in (b"\xff\xfe", None, b"ok"):
        producer.send(name, key=key, value=b"v").get(10)
    producer.close()
    records = drain(log.consumer(None, [EVENTS]), 3)
    assert [record.key for record in records] == ["\udcff\udcfe", None, "ok"]
    # As a dead letter, and back: the very bytes.
    log.append("events.dead-letter", [encode_dead_letter(DeadLetter(records[0], "no text"))])
    (letter,) = dead_letters(log)
    assert letter.record == records[0]
    assert replay(log, lambda _: {}, 0).put_back == 1
    again = drain(log.consumer(None, [EVENTS]), 4)[-1]
    assert again.key == "\udcff\udcfe"


def test_a_deletion_under_a_key_that_is_no_text_holds_up_no_import(
    log: KafkaLog, tmp_path: Path
) -> None:
    """It erases nobody, and neither the first taking up of imports nor a later one fails on it."""
    producer = KafkaProducer(bootstrap_servers=list(log._connection.servers))
    for key in (b"\xff\xfe", b"gone"):
        producer.send(log._connection.topic(USERS), key=key, value=None).get(10)
    producer.close()
    archive, state = Archive(tmp_path / "archive"), SqliteState(tmp_path / "state.sqlite")
    for number in (1, 2):
        kept, erased = event(number), event(10 + number, "gone")
        archive.write_events(f"import-{number}", [kept, erased])
        assert materialise(archive, state, MemoryOnline(), log) == 1
    state.close()


def test_a_large_message_passes_and_holds_nothing_up(log: KafkaLog) -> None:
    large = bytes(10 * 2**20)
    log.append(EVENTS, [Message("a", b"before"), Message("a", large), Message("a", b"after")])
    records = drain(log.consumer("g", [EVENTS]), 3)
    assert [len(record.value or b"") for record in records] == [6, len(large), 5]
    log.append("events.dead-letter", [encode_dead_letter(DeadLetter(records[1], "too large"))])
    assert [letter.record.value for letter in dead_letters(log)] == [large]


def test_a_message_beyond_the_limit_is_refused(log: KafkaLog) -> None:
    with pytest.raises(
        EventLogError, match=r"cannot append to 'test-.*events': .*MessageSizeTooLarge"
    ):
        log.append(EVENTS, [Message("a", bytes(40 * 2**20))])
    log.append(EVENTS, [Message("a", b"fine")])


def test_a_message_that_the_broker_refuses_spoils_no_later_one(kafka_address: str) -> None:
    topics = fresh_topics(kafka_address, max_message_bytes=10_000)
    # As settings that allow more than the topic does.
    settings = KafkaSettings(max_message_bytes=2**20)
    log = KafkaLog(KafkaConnection(topics.servers, topics.prefix, settings))
    for _ in range(2):
        with pytest.raises(EventLogError, match="cannot append"):
            log.append(EVENTS, [Message("u", bytes(20_000))])
        log.append(EVENTS, [Message("u", b"small")])
    assert [record.value for record in drain(log.consumer(None, [EVENTS]), 2)] == [b"small"] * 2
    log.close()


def test_what_retention_has_deleted_is_before_the_start(log: KafkaLog) -> None:
    log.append(EVENTS, [Message("a", b"1")] * 5)
    source, consumer = TopicPartition(EVENTS, 0), log.consumer("g", [EVENTS])
    assert len(drain(consumer, 5)) == 5
    forget(log, EVENTS, 3)
    assert log.starts([EVENTS]) == log.unread("g", [EVENTS]) == {source: 3}
    consumer.commit({source: 4})
    assert (log.starts([EVENTS]), log.unread("g", [EVENTS])) == ({source: 3}, {source: 4})
    forget(log, EVENTS, 5)
    assert log.starts([EVENTS]) == log.unread("g", [EVENTS]) == {source: 5}


@pytest.mark.parametrize("archived", [{}, {TopicPartition(EVENTS, 0): 2}])
def test_a_rebuild_goes_on_at_the_start_where_the_archive_ends_before_it(
    tmp_path: Path, log: KafkaLog, archived: dict[TopicPartition, int]
) -> None:
    """A topic that is older than the shop, or an outage that was longer than the retention."""
    archive, online = Archive(tmp_path / "archive"), MemoryOnline()
    archive.write_positions(archived)
    values = [event(number, minutes=number).model_dump_json().encode() for number in range(6)]
    log.append(EVENTS, [Message("u", value) for value in values[:5]])
    before = log.consumer("worker", [EVENTS])
    assert len(drain(before, 5)) == 5
    before.close()
    forget(log, EVENTS, 3)
    state = SqliteState(tmp_path / "state.sqlite")
    rebuild(archive, state, online, log)
    assert positions_of(state) == log.starts(TOPICS)
    worker = build_worker(log, online, state, HashEncoder, clock=lambda: NOW)
    worker.start()
    with worker.applied.expect(log.append(EVENTS, [Message("u", values[5])])) as done:
        done.result(30)
    worker.stop()
    assert worker.failure is None
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == ["e3", "e4", "e5"]
    state.close()


def forget(log: KafkaLog, topic: str, before: int) -> None:
    """Delete what is before an offset, as retention does."""
    with log._connection.admin("cannot forget") as admin:
        admin.delete_records({Place(log._connection.topic(topic), 0): before})


def test_a_topic_that_is_missing_is_named(kafka_address: str) -> None:
    log = KafkaLog(KafkaConnection((kafka_address,), "nobody-made-this"))
    with pytest.raises(EventLogError, match=r"no topic 'nobody-made-this.items'.*topics create"):
        log.consumer("g", [ITEMS]).poll(10, 0.0)
    log.close()


@pytest.mark.parametrize("position", [5, 7])
def test_a_position_beyond_the_end_is_refused(log: KafkaLog, position: int) -> None:
    log.append(EVENTS, [Message("a", b"1")] * 4)
    lost = log.consumer("g", [EVENTS], lambda all_: dict.fromkeys(all_, position))
    for _ in range(2):
        with pytest.raises(LostPositionError, match=f"offsets 0 to 4, not position {position}"):
            lost.poll(10, 0.0)
    consumer = log.consumer("h", [EVENTS])
    assert len(drain(consumer, 4)) == 4
    with pytest.raises(LostPositionError, match="not position"):
        consumer.seek({TopicPartition(EVENTS, 0): position})


def test_an_empty_poll_means_that_the_end_was_reached(log: KafkaLog) -> None:
    for number in range(5):
        log.append(EVENTS, [Message(str(number), bytes(2_000))] * 200)
    consumer = log.consumer(None, [EVENTS])
    count = 0
    while records := consumer.poll(256, 0.0):
        count += len(records)
    assert count == 1_000


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


def test_a_commit_in_the_middle_of_a_rebalance_is_made_by_a_later_poll(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(EVENTS, [Message("a", b"1"), Message("a", b"2")])
    consumer = log.consumer("g", [EVENTS])
    (record,) = consumer.poll(1, 10.0)

    def refuse(*_: object, **__: object) -> None:
        raise RebalanceInProgressError

    with monkeypatch.context() as patched:
        patched.setattr(consumer._consumer, "commit", refuse)
        consumer.commit({record.source: record.offset + 1})
    assert len(consumer.poll(1, 10.0)) == 1
    consumer.close()
    assert [each.value for each in drain(log.consumer("g", [EVENTS]), 1)] == [b"2"]


def test_records_are_not_lost_when_a_commit_that_was_turned_down_fails_again(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(EVENTS, [Message("a", b"1"), Message("a", b"2")])
    consumer = log.consumer("g", [EVENTS])
    (record,) = consumer.poll(1, 10.0)
    errors = iter([RebalanceInProgressError(), KafkaTimeoutError(), KafkaTimeoutError()])

    def refuse(*_: object, **__: object) -> None:
        raise next(errors)

    with monkeypatch.context() as patched:
        patched.setattr(consumer._consumer, "commit", refuse)
        consumer.commit({record.source: record.offset + 1})
        assert [each.value for each in consumer.poll(1, 10.0)] == [b"2"]
        with pytest.raises(EventLogError, match="cannot commit"):
            consumer.poll(1, 0.0)
    assert consumer.poll(1, 0.0) == []
    consumer.close()
    assert [each.value for each in drain(log.consumer("g", [EVENTS]), 1)] == [b"2"]


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
    with pytest.raises(EventLogError, match="kafka 127"):
        log.append(EVENTS, [Message("a", b"lost?")] * 6)
    server.thaw()
    log.append(EVENTS, [Message("a", b"after")])
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
    """Each append waits for its own time: one after the other, the last would wait for all."""
    at_once = threading.Barrier(4, timeout=10)

    def reach(connection: KafkaConnection) -> None:
        at_once.wait()
        raise OSError("timed out")

    monkeypatch.setattr(KafkaConnection, "reach", reach)
    log = KafkaLog(parse_kafka_url("kafka://nowhere:9092", KafkaSettings()))

    def append(_: int) -> str:
        with pytest.raises(EventLogError) as raised:
            log.append(EVENTS, [Message("k", b"v")])
        return str(raised.value)

    with ThreadPoolExecutor(4) as pool:
        reasons = set(pool.map(append, range(4)))
    assert reasons == {"kafka nowhere:9092: cannot append to 'events': timed out."}
    log.close()
