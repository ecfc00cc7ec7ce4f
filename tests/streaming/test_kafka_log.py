"""What is Kafka's own: foreign producers, topics, positions."""

from collections.abc import Iterator
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
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.history import UserHistory
from streaming.dead_letters import DeadLetter, dead_letters, encode_dead_letter, replay
from streaming.kafka_connection import KafkaConnection
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from streaming.materialise import materialise
from streaming.rebuild import rebuild
from streaming.sqlite_state import SqliteState
from streaming.stream_state import positions_of
from streaming.worker import TOPICS, Worker
from tests.support.draining import drain
from tests.support.kafka_server import fresh_topics
from tests.support.stream import NOW, FakeModel, MemoryOnline, event

pytestmark = pytest.mark.kafka


@pytest.fixture
def log(kafka_address: str) -> Iterator[KafkaLog]:
    log = KafkaLog(fresh_topics(kafka_address, max_message_bytes=12 * 2**20))
    yield log
    log.close()


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
        archive.events.write(f"import-{number}", [kept, erased])
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
    archive.positions.write(archived)
    values = [event(number, minutes=number).model_dump_json().encode() for number in range(6)]
    log.append(EVENTS, [Message("u", value) for value in values[:5]])
    before = log.consumer("worker", [EVENTS])
    assert len(drain(before, 5)) == 5
    before.close()
    forget(log, EVENTS, 3)
    state = SqliteState(tmp_path / "state.sqlite")
    rebuild(archive, state, online, log)
    assert positions_of(state) == log.starts(TOPICS)
    worker = Worker(log, online, state, FakeModel(), clock=lambda: NOW)
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
