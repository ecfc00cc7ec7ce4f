"""What is the embedded log's own: compaction, retention, errors."""

import sqlite3
from pathlib import Path

import pytest

from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    EventLogError,
    LostPositionError,
    Message,
    TopicPartition,
)
from streaming.sqlite_log import SqliteLog


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

    def refused(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with monkeypatch.context() as patch:
        patch.setattr("streaming.sqlite_log._connect", refused)
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


def test_a_full_disk_fails_the_append_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(EVENTS, [Message("k", b"kept")])
    # SQLite reports a file at its page limit as it reports a full disk.
    log._connection.execute("PRAGMA max_page_count = 1").fetchall()
    with pytest.raises(EventLogError, match="nothing was written: database or disk is full"):
        log.append(EVENTS, [Message("k", bytes(1_000_000))])
    log._connection.execute("PRAGMA max_page_count = 1000000").fetchall()
    log.append(EVENTS, [Message("k", b"after")])
    assert [value for _, value in contents(log, EVENTS)] == [b"kept", b"after"]
    log.close()


def test_a_locked_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.sqlite_log.BUSY_SECONDS", 0.01)
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
