"""What every `EventLog` does. A new implementation adds itself to `LOGS`."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    EventLog,
    EventLogError,
    GroupedLog,
    LogConsumer,
    LogRecord,
    Message,
    TopicPartition,
)
from streaming.kafka_log import KafkaLog
from streaming.sqlite_log import SqliteLog
from tests.support.kafka_server import fresh_topics

Reopen = Callable[[], EventLog]

LOGS = ["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture(params=LOGS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Opens the same log again and again, as processes one after another would."""
    opened: list[EventLog] = []
    if request.param == "kafka":
        connection = fresh_topics(request.getfixturevalue("kafka_address"))

    def open_it() -> EventLog:
        if request.param == "kafka":
            opened.append(KafkaLog(connection))
        else:
            opened.append(SqliteLog(tmp_path / "log.sqlite"))
        return opened[-1]

    yield open_it
    for log in opened:
        log.close()


@pytest.fixture
def log(reopen: Reopen) -> EventLog:
    return reopen()


def messages(*values: str, key: str = "k") -> list[Message]:
    return [Message(key, value.encode()) for value in values]


def drain(consumer: LogConsumer, count: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while len(records) < count and (more := consumer.poll(100, 10.0)):
        records += more
    return records + consumer.poll(100, 0.0)


def values(records: list[LogRecord]) -> list[str]:
    return [record.value.decode() for record in records if record.value is not None]


def positions_after(records: list[LogRecord]) -> dict[TopicPartition, int]:
    return {record.source: record.offset + 1 for record in records}


def test_records_come_back_in_order_with_growing_offsets(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    log.append(EVENTS, [Message(None, b"\xff\x00"), Message("gone", None)])
    records = drain(log.consumer("g", [EVENTS]), 4)
    assert [(r.key, r.value) for r in records] == [
        ("k", b"a"), ("k", b"b"), (None, b"\xff\x00"), ("gone", None)
    ]  # fmt: skip
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))


def test_moments_say_what_came_first_in_all_topics(log: EventLog) -> None:
    for number in range(6):
        log.append(EVENTS if number % 3 else ITEMS, messages(str(number)))
        time.sleep(0.002)  # records of one millisecond may share it
    records = drain(log.consumer("g", [EVENTS, ITEMS]), 6)
    assert values(sorted(records, key=lambda each: each.moment)) == list("012345")
    assert len({record.moment for record in records}) == 6
    if log.topics_share_an_order:
        assert values(records) == list("012345")


def test_a_record_says_to_every_reader_when_the_log_took_it(log: EventLog) -> None:
    before = time.time()
    log.append(EVENTS, messages("a"))
    after = time.time()
    (first,) = drain(log.consumer("g", [EVENTS]), 1)
    (again,) = drain(log.consumer(None, [EVENTS]), 1)
    assert first.appended_at is not None
    assert int(before * 1_000) <= first.appended_at <= after * 1_000
    assert again == first


def test_a_consumer_reads_only_its_topics(log: EventLog) -> None:
    log.append(EVENTS, messages("event"))
    log.append(ITEMS, messages("item"))
    assert values(drain(log.consumer("g", [ITEMS]), 1)) == ["item"]
    assert sorted(values(drain(log.consumer("h", [EVENTS, ITEMS]), 2))) == ["event", "item"]


def test_poll_returns_at_most_what_was_asked_for(log: EventLog) -> None:
    log.append(EVENTS, messages(*"abcde"))
    log.append(ITEMS, messages(*"vwxyz"))
    consumer = log.consumer("g", [EVENTS, ITEMS])
    batches = []
    while batch := consumer.poll(3, 0.5):
        batches.append(batch)
    assert all(len(batch) <= 3 for batch in batches)
    assert sorted(v for batch in batches for v in values(batch)) == sorted("abcdevwxyz")


def test_who_holds_records_gets_more_and_waits_no_longer_than_asked(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b", "c"))
    consumer = log.consumer("g", [EVENTS])
    records = consumer.poll(1, 10.0)
    deadline = time.monotonic() + 10.0
    while len(records) < 3 and time.monotonic() < deadline:
        records += consumer.more(3 - len(records), 1.0)
    assert values(records) == ["a", "b", "c"]
    start = time.monotonic()
    assert consumer.more(10, 0.05) == []
    assert 0.04 < time.monotonic() - start < 2.0
    log.append(EVENTS, messages("d"))
    assert values(consumer.poll(10, 10.0)) == ["d"]


def test_the_ends_are_where_a_reader_of_everything_stands(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    log.append(ITEMS, messages("c"))
    records = drain(log.consumer(None, [EVENTS, ITEMS]), 3)
    ends = log.ends([EVENTS, ITEMS])
    assert positions_after(records).items() <= ends.items()
    log.append(EVENTS, messages("d"))
    assert sum(log.ends([EVENTS]).values()) > sum(
        end for source, end in ends.items() if source.topic == EVENTS
    )


def test_the_starts_are_where_a_reader_of_everything_begins(log: GroupedLog) -> None:
    assert log.starts([EVENTS]) == log.ends([EVENTS])
    log.append(EVENTS, messages("a", "b"))
    log.append(ITEMS, messages("c"))
    starts = log.starts([EVENTS, ITEMS])
    first, *rest = drain(log.consumer(None, [EVENTS, ITEMS], lambda _: starts), 3)
    assert len(rest) == 2
    assert starts[first.source] == first.offset
    assert all(starts[record.source] <= record.offset for record in rest)


def test_an_append_says_after_which_offsets_its_messages_are_read(log: EventLog) -> None:
    assert log.append(EVENTS, []) == {}
    log.append(ITEMS, messages("before"))
    at = log.append(EVENTS, [Message(f"key {number}", b"mine") for number in range(20)])
    log.append(EVENTS, messages("after"))
    records = drain(log.consumer(None, [EVENTS]), 21)
    mine = [record for record in records if record.value == b"mine"]
    assert at == positions_after(mine)


def test_what_a_group_has_not_read_can_be_read_beside_it(log: GroupedLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    member = log.consumer("g", [EVENTS])
    (first, _) = drain(member, 2)

    def unread() -> list[str]:
        positions = log.unread("g", [EVENTS])
        aside = log.consumer(None, [EVENTS], lambda _: positions)
        found = values(aside.poll(10, 0.0))
        assert aside.poll(10, 0.0) == []
        aside.close()
        return found

    assert unread() == ["a", "b"]
    member.commit(positions_after([first]))
    assert unread() == ["b"]


def test_poll_without_records_returns_nothing(log: EventLog) -> None:
    assert log.consumer("g", [EVENTS]).poll(10, 0.01) == []


def test_a_group_continues_where_it_committed(reopen: Reopen) -> None:
    log = reopen()
    log.append(EVENTS, messages("a", "b", "c"))
    consumer = log.consumer("g", [EVENTS])
    records = drain(consumer, 3)
    consumer.commit({records[0].source: records[1].offset})
    consumer.close()
    assert values(drain(log.consumer("g", [EVENTS]), 2)) == ["b", "c"]
    log.close()
    assert values(drain(reopen().consumer("g", [EVENTS]), 2)) == ["b", "c"]


def test_without_a_commit_everything_is_read_again(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    first = log.consumer("g", [EVENTS])
    assert values(drain(first, 2)) == ["a", "b"]
    first.close()
    assert values(drain(log.consumer("g", [EVENTS]), 2)) == ["a", "b"]


def test_groups_do_not_see_each_other(log: EventLog) -> None:
    log.append(EVENTS, messages("a"))
    for group in ("g", "h", None, None):
        consumer = log.consumer(group, [EVENTS])
        records = drain(consumer, 1)
        assert values(records) == ["a"]
        if group:
            consumer.commit(positions_after(records))


def test_seek_overrides_what_was_committed(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b", "c"))
    consumer = log.consumer("g", [EVENTS])
    records = drain(consumer, 3)
    consumer.commit(positions_after(records))
    consumer.seek({records[1].source: records[1].offset})
    assert values(drain(consumer, 2)) == ["b", "c"]


def test_a_consumer_continues_at_the_positions_it_is_given(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b", "c"))
    log.append(ITEMS, messages("x", "y"))
    records = drain(log.consumer(None, [EVENTS]), 3)
    asked: list[TopicPartition] = []

    def positions(committed: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        asked.extend(committed)
        return {records[2].source: records[2].offset}

    consumer = log.consumer("g", [EVENTS, ITEMS], positions)
    assert sorted(values(drain(consumer, 3))) == ["c", "x", "y"]
    assert {partition.topic for partition in asked} == {EVENTS, ITEMS}


def test_who_comes_again_at_a_record_reads_that_very_record(reopen: Reopen) -> None:
    reopen().append(EVENTS, messages("a", "b", "c"))
    last = drain(reopen().consumer(None, [EVENTS]), 3)[1]
    again = reopen().consumer(None, [EVENTS], lambda _: {last.source: last.offset})
    first, *rest = drain(again, 2)
    assert first == last
    assert values(rest) == ["c"]


def test_what_a_group_has_not_committed_is_unread(log: GroupedLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    log.append(ITEMS, messages("x"))
    everything = log.unread("g", [EVENTS, ITEMS])
    assert set(everything) == set(log.ends([EVENTS, ITEMS]))
    assert values(drain(log.consumer(None, [EVENTS, ITEMS], lambda _: everything), 3)) == [
        "a", "b", "x"
    ]  # fmt: skip
    consumer = log.consumer("g", [EVENTS])
    committed = positions_after(drain(consumer, 2)[:1])
    consumer.commit(committed)
    consumer.close()
    assert log.unread("g", [EVENTS, ITEMS]) == {**everything, **committed}
    assert log.unread("another", [EVENTS, ITEMS]) == everything


def test_who_gives_positions_is_told_what_the_group_has_committed(log: EventLog) -> None:
    log.append(EVENTS, messages("a", "b"))
    log.append(ITEMS, messages("x"))
    first = log.consumer("g", [EVENTS])
    committed = positions_after(drain(first, 2))
    first.commit(committed)
    first.close()
    told: dict[TopicPartition, int | None] = {}

    def positions(committed: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        told.update(committed)
        return {}

    assert values(drain(log.consumer("g", [EVENTS, ITEMS], positions), 1)) == ["x"]
    assert {source: at for source, at in told.items() if at is not None} == committed
    assert {source.topic for source in told} == {EVENTS, ITEMS}


def test_positions_that_cannot_be_given_yet_are_asked_for_again(log: EventLog) -> None:
    log.append(EVENTS, messages("a"))
    errors = [RuntimeError("the state is down")]

    def positions(_: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        if errors:
            raise errors.pop()
        return {}

    consumer = log.consumer("g", [EVENTS], positions)
    with pytest.raises(RuntimeError, match="the state is down"):
        drain(consumer, 1)
    assert values(drain(consumer, 1)) == ["a"]


def test_a_waiting_poll_is_woken_by_an_append(log: EventLog) -> None:
    consumer = log.consumer("g", [EVENTS])
    timer = threading.Timer(0.05, log.append, (EVENTS, messages("late")))
    timer.start()
    assert values(consumer.poll(10, 30.0)) == ["late"]
    timer.join()


def test_what_is_acknowledged_is_there_after_reopening(reopen: Reopen) -> None:
    log = reopen()
    log.append(EVENTS, messages("a"))
    log.close()
    assert values(drain(reopen().consumer(None, [EVENTS]), 1)) == ["a"]


def test_concurrent_appends_keep_each_callers_order(log: EventLog) -> None:
    def caller(name: int) -> None:
        for number in range(20):
            log.append(EVENTS, messages(f"{name}:{number}:0", f"{name}:{number}:1"))

    threads = [threading.Thread(target=caller, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    consumer = log.consumer("g", [EVENTS])
    seen = values(drain(consumer, 320))  # beside the writers
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 320
    for name in range(8):
        own = [value for value in seen if value.startswith(f"{name}:")]
        assert own == [f"{name}:{number}:{half}" for number in range(20) for half in (0, 1)]


def test_a_bad_message_fails_its_caller_alone(log: EventLog) -> None:
    errors: list[Exception] = []

    def bad() -> None:
        try:
            log.append(EVENTS, [Message("ok", b"1"), Message("\ud800", b"2")])
        except EventLogError as error:
            errors.append(error)

    callers = [threading.Thread(target=bad) for _ in range(4)]
    callers += [
        threading.Thread(target=log.append, args=(EVENTS, messages(f"good {n}"))) for n in range(4)
    ]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert len(errors) == 4
    assert sorted(values(drain(log.consumer("g", [EVENTS]), 4))) == [f"good {n}" for n in range(4)]


def test_a_closed_log_refuses_clearly(log: EventLog) -> None:
    log.close()
    with pytest.raises(EventLogError, match="closed"):
        log.append(EVENTS, messages("a"))


def test_appends_of_another_process_are_seen(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    consumer = log.consumer("g", [EVENTS])
    assert consumer.poll(10, 0.0) == []
    code = (
        "import sys; from pathlib import Path; from streaming.sqlite_log import SqliteLog;"
        "from feature_repo.event_log import Message;"
        "SqliteLog(Path(sys.argv[1])).append('events', [Message('k', b'other')])"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log.sqlite")])
    assert values(consumer.poll(10, 60.0)) == ["other"]
    assert other.wait() == 0
    log.close()
