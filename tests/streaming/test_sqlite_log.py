"""What is the embedded log's own: compaction, retention, errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    USERS,
    EventLogError,
    LogRecord,
    LostPositionError,
    Message,
    TopicPartition,
)
from streaming import sqlite_consumer
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_log_file import SqliteLogFile

MOST = 250


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def contents(log: SqliteLog, topic: str) -> list[tuple[str | None, bytes | None]]:
    return [(r.key, r.value) for r in log.consumer(None, [topic]).poll(10_000, 0.0)]


def test_compaction_keeps_the_newest_of_each_key(tmp_path: Path) -> None:
    clock = Clock()
    log = SqliteLog(tmp_path / "log.sqlite", clock)
    log.append(ITEM_EMBEDDINGS, [Message("a", b"1"), Message("b", b"1"), Message("a", b"2")])
    log.append(ITEM_EMBEDDINGS, [Message("b", None)])
    log.append(EVENTS, [Message("a", b"1"), Message("a", b"2")])
    assert log.compact(tombstones_before=clock.now) == 2
    assert contents(log, ITEM_EMBEDDINGS) == [("a", b"2"), ("b", None)]
    assert log.compact(tombstones_before=clock.now + 1) == 1
    assert contents(log, ITEM_EMBEDDINGS) == [("a", b"2")]
    assert contents(log, EVENTS) == [("a", b"1"), ("a", b"2")]
    log.close()


def test_trimming_waits_for_the_slowest_group(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", bytes([n])) for n in range(5)])
    fast = log.consumer("fast", [EVENTS])
    records = fast.poll(10, 0.0)
    fast.commit({TopicPartition(EVENTS, 0): records[-1].offset + 1})
    assert log.trim(EVENTS, ["fast", "slow"]) == 0
    slow = log.consumer("slow", [EVENTS])
    slow.commit({TopicPartition(EVENTS, 0): records[2].offset})
    assert log.trim(EVENTS, ["fast", "slow"]) == 2
    assert [value for _, value in contents(log, EVENTS)] == [b"\x02", b"\x03", b"\x04"]
    log.close()


def test_a_file_that_cannot_be_read_for_a_while_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever follows the log, or shortens it, tries again after an `EventLogError`."""
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", b"1")])
    consumer = log.consumer("g", [EVENTS])

    def refused(_: SqliteLogFile) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLogFile, "connect", refused)
        for ask in (
            lambda: consumer.poll(10, 0.0),
            lambda: log.trim(EVENTS, ["g"]),
            lambda: log.unread("g", [EVENTS]),
            lambda: log.ends([EVENTS]),
            lambda: log.consumer("g", [EVENTS]),
        ):
            with pytest.raises(EventLogError, match="cannot be read: unable to open"):
                ask()
    assert [record.value for record in consumer.poll(10, 0.0)] == [b"1"]
    log.close()


def test_offsets_are_never_given_twice(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", b"1")])
    consumer = log.consumer("g", [EVENTS])
    (first,) = consumer.poll(10, 0.0)
    consumer.commit({first.source: first.offset + 1})
    assert log.trim(EVENTS, ["g"]) == 1
    log.append(EVENTS, [Message("k", b"2")])
    (second,) = consumer.poll(10, 0.0)
    assert second.offset > first.offset
    log.close()


def test_a_position_beyond_the_end_is_refused(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", b"1")])
    consumer = log.consumer("g", [EVENTS])
    assert len(consumer.poll(10, 0.0)) == 1
    consumer.seek({TopicPartition(EVENTS, 0): 2})
    with pytest.raises(LostPositionError, match="ends at 2, before position 9"):
        consumer.seek({TopicPartition(EVENTS, 0): 9})
    lost = log.consumer("h", [EVENTS], lambda partitions: dict.fromkeys(partitions, 9))
    for _ in range(2):
        with pytest.raises(LostPositionError, match="ends at 2, before position 9"):
            lost.poll(10, 0.0)
    log.close()


@settings(max_examples=40, deadline=None)
@given(
    topics=st.lists(st.sampled_from([EVENTS, ITEMS, ITEM_EMBEDDINGS]), max_size=12),
    read=st.fixed_dictionaries({EVENTS: st.integers(0, 12), ITEMS: st.integers(0, 12)}),
)
def test_a_reader_gets_all_from_its_position_on_or_is_told_that_some_is_lost(
    topics: list[str], read: dict[str, int]
) -> None:
    with TemporaryDirectory() as folder, closing(SqliteLog(Path(folder) / "log.sqlite")) as log:
        appended: dict[str, list[int]] = {EVENTS: [], ITEMS: [], ITEM_EMBEDDINGS: []}
        for offset, topic in enumerate(topics, start=1):
            log.append(topic, [Message("k", b"")])
            appended[topic].append(offset)
        for topic, count in read.items():
            source = TopicPartition(topic, 0)
            for offset in appended[topic][:count]:
                log.consumer("g", [topic]).commit({source: offset + 1})
            trimmed = log.trim(topic, ["g"])
            start = log.starts([topic])[source]
            for position in range(1, len(topics) + 2):
                reader = log.consumer(None, [topic])
                reader.poll(0, 0.0)
                lost = [offset for offset in appended[topic][:trimmed] if offset >= position]
                if lost:
                    assert position < start
                    with pytest.raises(LostPositionError, match="`riverrun rebuild`"):
                        reader.seek({source: position})
                    continue
                reader.seek({source: position})
                left = [offset for offset in appended[topic] if offset >= position]
                assert [record.offset for record in reader.poll(100, 0.0)] == left


def test_what_is_appended_while_topics_are_read_keeps_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    consumer = log.consumer(None, [EVENTS, ITEMS])
    of_topic = consumer._of_topic

    def meanwhile(topic: str, position: int, limit: int) -> Iterator[LogRecord]:
        if topic == ITEMS:
            log.append(EVENTS, [Message("k", b"first")])
            log.append(ITEMS, [Message("k", b"second")])
        return of_topic(topic, position, limit)

    with monkeypatch.context() as patched:
        patched.setattr(consumer, "_of_topic", meanwhile)
        read = consumer.poll(100, 0.0)
    read += consumer.poll(100, 0.0)
    assert [record.value for record in read] == [b"first", b"second"]
    log.close()


def test_a_full_disk_fails_the_append_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", b"kept")])
    # SQLite reports a file at its page limit as it reports a full disk.
    log._writes.connection.execute("PRAGMA max_page_count = 1").fetchall()
    with pytest.raises(EventLogError, match="nothing was written: database or disk is full"):
        log.append(EVENTS, [Message("k", bytes(1_000_000))])
    log._writes.connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    log.append(EVENTS, [Message("k", b"after")])
    assert [value for _, value in contents(log, EVENTS)] == [b"kept", b"after"]
    log.close()


def test_a_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.sqlite_log_file.BUSY_SECONDS", 0.01)
    log = SqliteLog(tmp_path / "log.sqlite")
    other = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(EventLogError, match=r"log\.sqlite: nothing was written: .*locked"):
        log.append(EVENTS, [Message("k", b"1")])
    other.execute("ROLLBACK")
    other.close()
    log.append(EVENTS, [Message("k", b"1")])
    assert len(contents(log, EVENTS)) == 1
    log.close()


def test_a_file_that_is_no_log_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"no database at all, but long enough to be read as one" * 40)
    with pytest.raises(EventLogError, match=r"log\.sqlite: cannot be opened"):
        SqliteLog(path)


def offsets(log: SqliteLog) -> list[int]:
    return [record.offset for record in log.consumer(None, [EVENTS, ITEMS]).poll(100, 0.0)]


def begun_after(log: SqliteLog, offset: int) -> int:
    """Let the log begin after the offset, and return where it does."""
    log.begin_after(offset)
    (start,) = set(log.starts([EVENTS, ITEMS]).values())
    return start


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.sampled_from([EVENTS, ITEMS, USERS]), st.integers(0, 200))),
    limit=st.integers(1, 30),
)
def test_a_poll_is_bounded_by_bytes_and_keeps_the_order(
    sizes: list[tuple[str, int]], limit: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite_consumer, "POLL_BYTES", MOST)
        with closing(SqliteLog(Path(folder) / "log.sqlite")) as log:
            for topic, size in sizes:
                log.append(topic, [Message("a", bytes(size))])
            consumer = log.consumer(None, [EVENTS, ITEMS, USERS])
            polls = []
            while records := consumer.poll(limit, 0.0):
                polls.append(records)
            consumer.close()
    read = [record for records in polls for record in records]
    assert [(record.source.topic, record.size) for record in read] == sizes
    for records in polls:
        assert sum(record.size for record in records[:-1]) < MOST


def test_a_new_log_begins_where_it_is_told(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    assert begun_after(log, 40) == 41
    assert begun_after(log, 40) == 41
    log.append(EVENTS, [Message("k", b"1")])
    log.append(ITEMS, [Message("k", b"2")])
    assert offsets(log) == [41, 42]
    assert log.ends([EVENTS, ITEMS]) == {
        TopicPartition(EVENTS, 0): 42, TopicPartition(ITEMS, 0): 43,
    }  # fmt: skip
    log.consumer(None, [EVENTS]).seek({TopicPartition(EVENTS, 0): 43})
    with pytest.raises(LostPositionError):
        log.consumer(None, [EVENTS]).seek({TopicPartition(EVENTS, 0): 44})
    log.close()


def test_a_log_that_is_further_stays_as_it_is(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", bytes([n])) for n in range(5)])
    log.consumer("g", [EVENTS]).commit({TopicPartition(EVENTS, 0): 3})
    assert log.trim(EVENTS, ["g"]) == 2
    for offset in (0, 4, 5):
        assert begun_after(log, offset) == 3
    assert offsets(log) == [3, 4, 5]
    log.append(EVENTS, [Message("k", b"")])
    assert offsets(log) == [3, 4, 5, 6]
    log.close()


def test_what_nobody_has_read_moves_up_and_what_was_read_keeps_its_place(tmp_path: Path) -> None:
    for name, after, is_read, expected in (
        ("new", 100, False, [101, 102, 103, 104]),
        # As long as the one before it by now, or longer.
        ("grown", 3, False, [4, 5, 6, 7]),
        ("longer", 1, False, [4, 5, 6, 7]),
        ("restored", 100, True, [1, 2, 3, 101]),
    ):
        log = SqliteLog(tmp_path / name)
        log.append(EVENTS, [Message("k", b"1"), Message("k", b"2")])
        log.append(ITEMS, [Message("k", b"3")])
        follower = log.consumer(None, [EVENTS, ITEMS])
        assert len(follower.poll(10, 0.0)) == 3
        if is_read:
            log.consumer("g", [EVENTS]).commit({TopicPartition(EVENTS, 0): 2})
        for _ in range(2):
            assert begun_after(log, after) == expected[0]
        log.append(EVENTS, [Message("k", b"4")])
        assert offsets(log) == expected
        assert contents(log, EVENTS) == [("k", b"1"), ("k", b"2"), ("k", b"4")]
        # Who reads on without a group misses nothing.
        assert follower.poll(10, 0.0)[-1].value == b"4"
        log.close()


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as other:
        other.execute("DROP TABLE committed")
    with pytest.raises(EventLogError, match="nothing was written"):
        log.begin_after(7)
    log.append(EVENTS, [Message("k", b"1")])
    assert offsets(log) == [1]
    log.close()
