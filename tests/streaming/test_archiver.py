import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from feature_repo.archive import Archive
from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    USERS,
    LogRecord,
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.event_segments import EventSegments
from streaming.archiver import Archiver
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from tests.support.read_through import OtherConsumer, ReadThrough
from tests.support.stream import NOW, event, item, user
from tests.support.waiting import wait_until


def send(log: SqliteLog, topic: str, key: str, record: Any) -> None:
    value = None if record is None else record.model_dump_json().encode()
    log.append(topic, [Message(key, value)])


def archiver(log: Any, archive: Any, **settings: Any) -> Archiver:
    chosen = StreamingSettings(retry_seconds=0.001, **settings)
    return Archiver(log, archive, settings=chosen)


def giving(log: SqliteLog, polls: Iterator[list[LogRecord]]) -> Any:
    """Return the log, as if each poll found the next of these records, and at last none."""

    class Giving(OtherConsumer):
        def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
            return next(polls, [])

    return ReadThrough(log, Giving)


def event_ids(archive: Archive) -> list[str]:
    return sorted(archive.events.scan().collect()["event_id"])


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    return SqliteLog(tmp_path / "log.sqlite")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def test_everything_is_archived_and_committed(log: SqliteLog, archive: Archive) -> None:
    for number in range(3):
        send(log, EVENTS, "u", event(number))
    send(log, EVENTS, "u", event(1))
    send(log, ITEMS, "i1", item(1))
    send(log, ITEMS, "i2", item(2))
    send(log, ITEMS, "i1", None)
    send(log, USERS, "u1", user(1))
    log.append(EVENTS, [Message("u", b"\xff")])
    writer = archiver(log, archive)
    writer.step()
    assert event_ids(archive) == []
    writer.flush()
    assert event_ids(archive) == ["e0", "e1", "e2"]
    assert [each.item_id for each in archive.items()] == ["i2"]
    assert [each.user_id for each in archive.users()] == ["u1"]
    assert log.trim(EVENTS, ["archive"]) == 5


def test_it_rests_where_there_is_little_to_read(
    log: SqliteLog, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = event(0).model_copy(update={"query": "q" * 1_000, "context": {"at": "x" * 300_000}})
    polls = [
        [
            LogRecord(TopicPartition(EVENTS, 0), 0, "u", each.model_dump_json().encode())
            for each in events
        ]
        for events in ([event(0)], [event(n) for n in range(1_000)], [large], [event(1)] * 2)
    ]
    left = iter(polls)
    writer = archiver(giving(log, left), archive)
    ended = writer._stop

    rested_after: list[int] = []

    def rest(seconds: float) -> bool:
        rested_after.append(len(polls) - left.__length_hint__())
        if not left.__length_hint__():
            ended.set()
        return ended.is_set()

    monkeypatch.setattr(ended, "wait", rest)
    writer._follow()
    assert rested_after == [1, 4]


def test_a_segment_is_written_when_it_is_full(log: SqliteLog, archive: Archive) -> None:
    send(log, EVENTS, "u", event(0))
    writer = archiver(log, archive, archive_rows=2)
    writer.step()
    assert event_ids(archive) == []
    send(log, EVENTS, "u", event(1))
    writer.step()
    assert event_ids(archive) == ["e0", "e1"]


def test_a_segment_is_written_when_it_has_many_bytes(log: SqliteLog, archive: Archive) -> None:
    send(log, EVENTS, "u", event(0).model_copy(update={"query": "a" * 500}))
    writer = archiver(log, archive, archive_bytes=1_000)
    writer.step()
    assert event_ids(archive) == []
    send(log, ITEMS, "i1", item(1, "a" * 500))
    writer.step()
    assert event_ids(archive) == ["e0"]
    assert [each.item_id for each in archive.items()] == ["i1"]
    # The next segment begins at nothing.
    send(log, EVENTS, "u", event(1))
    writer.step()
    assert event_ids(archive) == ["e0"]


def test_a_crash_before_the_commit_repeats_the_segment(log: SqliteLog, archive: Archive) -> None:
    class Crashing(OtherConsumer):
        def commit(self, positions: Mapping[TopicPartition, int]) -> None:
            raise KeyboardInterrupt

    send(log, EVENTS, "u", event(0))
    first = archiver(ReadThrough(log, Crashing), archive)
    first.step()
    with pytest.raises(KeyboardInterrupt):
        first.flush()
    send(log, EVENTS, "u", event(1))
    second = archiver(log, archive)
    second.step()
    second.flush()
    assert event_ids(archive) == ["e0", "e1"]


def test_a_full_disk_delays_and_loses_nothing(log: SqliteLog, archive: Archive) -> None:
    failures = [OSError(28, "No space left on device")] * 3

    class Full(EventSegments):
        def write(self, *arguments: Any) -> int:
            if failures:
                raise failures.pop()
            return super().write(*arguments)

    send(log, EVENTS, "u", event(0))
    archive.events = Full(archive.root)
    writer = archiver(log, archive)
    writer.step()
    writer.flush()
    assert event_ids(archive) == ["e0"]
    assert not failures


def test_so_does_a_folder_that_cannot_be_read_for_a_moment(
    log: SqliteLog, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = {"positions": 1, "last_request": 2}

    def once_back(name: str, read: Callable[[], Any]) -> Any:
        if failures[name]:
            failures[name] -= 1
            raise OSError(116, "Stale file handle")
        return read()

    send(log, EVENTS, "u", event(0))
    writer = archiver(log, archive)
    positions, last_request = archive.positions.read, archive.last_request
    monkeypatch.setattr(archive.positions, "read", partial(once_back, "positions", positions))
    monkeypatch.setattr(archive, "last_request", partial(once_back, "last_request", last_request))
    assert [writer.step() for _ in range(2)] == [0, 1]
    writer.flush()
    assert event_ids(archive) == ["e0"]
    assert not any(failures.values())
    # Each is counted, where it was tried again.
    read, name = writer.metrics.registry.get_sample_value, "riverrun_stream_retries_total"
    assert [read(name, {"stage": stage}) for stage in ("poll", "archive")] == [1, 2]


def test_an_erased_user_leaves_the_archive(log: SqliteLog, archive: Archive) -> None:
    send(log, USERS, "u1", user(1))
    send(log, EVENTS, "u1", event(0, "u1"))
    send(log, EVENTS, "u2", event(1, "u2"))
    send(log, USERS, "u1", None)
    send(log, EVENTS, "u1", event(2, "u1"))
    writer = archiver(log, archive)
    writer.step()
    writer.flush()
    assert event_ids(archive) == ["e1", "e2"]
    assert archive.users() == []


def test_erasures_of_one_segment_are_one_pass_over_the_archive(
    log: SqliteLog, archive: Archive
) -> None:
    passes: list[set[str]] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(archive, name)

        def erase_users(self, moments: dict[str, int]) -> int:
            passes.append(set(moments))
            return archive.erase_users(moments)

    people = [f"u{number}" for number in range(9)]
    for number, person in enumerate(people):
        send(log, EVENTS, person, event(number, person))
        send(log, USERS, person, user(number))
    writer = archiver(log, Watched())
    writer.step()
    writer.flush()
    for number, person in enumerate(people[:7]):
        send(log, EVENTS, person, event(100 + number, person))
        send(log, USERS, person, None)
    send(log, EVENTS, "u3", event(200, "u3"))
    send(log, USERS, "u4", user(4))
    writer.step()
    writer.flush()
    assert passes == [set(people[:7])]
    assert event_ids(archive) == ["e200", "e7", "e8"]
    assert [each.user_id for each in archive.users()] == ["u4", "u7", "u8"]


def test_many_erasures_are_not_collected_without_end(log: SqliteLog, archive: Archive) -> None:
    send(log, EVENTS, "u1", event(0, "u1"))
    writer = archiver(log, archive, archive_rows=2)
    writer.step()
    writer.flush()
    for number in range(2):
        send(log, USERS, f"u{number}", None)
    writer.step()
    assert event_ids(archive) == []


def test_segments_of_different_places_do_not_replace_each_other(
    log: SqliteLog, archive: Archive
) -> None:
    def segment(topic: str, partition: int, *offsets: int) -> None:
        records = []
        for offset in offsets:
            made = event(100 * partition + offset) if topic == EVENTS else user(1)
            value = made.model_dump_json().encode()
            source = TopicPartition(topic, partition)
            records.append(LogRecord(source, offset, made.user_id, value))
        writer = archiver(giving(log, iter([records])), archive)
        writer.step()
        writer.flush()

    segment(EVENTS, 0, 5, 6, 7)
    segment(EVENTS, 1, 5)
    segment(USERS, 0, 5)
    segment(EVENTS, 0, 5)  # by one who lost the partition before it could commit
    assert event_ids(archive) == ["e105", "e5", "e6", "e7"]


def test_an_archive_that_is_put_back_gets_what_came_since(
    log: SqliteLog, archive: Archive, tmp_path: Path
) -> None:
    def archive_all() -> None:
        writer = archiver(log, archive)
        writer.step()
        writer.flush()

    for number in range(2):
        send(log, EVENTS, f"u{number}", event(number, user=f"u{number}"))
    archive_all()
    shutil.copytree(archive.root, tmp_path / "copy")
    with capture_logs() as logs:
        archive_all()
    assert logs == []
    send(log, EVENTS, "u2", event(2, user="u2"))
    send(log, USERS, "u0", None)
    archive_all()
    assert event_ids(archive) == ["e1", "e2"]
    shutil.rmtree(archive.root)
    shutil.copytree(tmp_path / "copy", archive.root)
    with capture_logs() as logs:
        archive_all()
    assert event_ids(archive) == ["e1", "e2"]
    (line,) = [each for each in logs if each["event"] == "archive_was_put_back"]
    assert line["read_again"] >= 2  # offsets, which the topics of an embedded log share
    assert line["lost"] == 0


def test_of_an_archive_that_is_put_back_what_the_log_has_not_is_said_to_be_lost(
    log: SqliteLog, archive: Archive, tmp_path: Path
) -> None:
    log.append(ITEM_EMBEDDINGS, [Message("i", b"kept for as long as the item")])
    for number in range(4):
        send(log, EVENTS, "u", event(number))
        writer = archiver(log, archive)
        writer.step()
        writer.flush()
        if number == 0:
            shutil.copytree(archive.root, tmp_path / "copy")
    assert log.trim(EVENTS, ["archive"]) == 4
    shutil.rmtree(archive.root)
    shutil.copytree(tmp_path / "copy", archive.root)
    send(log, EVENTS, "u", event(4))
    with capture_logs() as logs:
        writer = archiver(log, archive)
        writer.step()
        writer.flush()
    assert event_ids(archive) == ["e0", "e4"]
    (line,) = [each for each in logs if each["event"] == "archive_was_put_back"]
    assert (line["read_again"], line["lost"]) == (0, 3)


def test_a_topic_that_was_made_anew_replaces_nothing(log: SqliteLog, archive: Archive) -> None:
    for number, moment in ((0, 1_000), (1, 2_000), (1, 2_000)):  # the last after a crash
        value = event(number).model_dump_json().encode()
        record = LogRecord(TopicPartition(EVENTS, 0), 0, "u", value, moment)
        writer = archiver(giving(log, iter([[record]])), archive)
        writer.step()
        writer.flush()
    assert event_ids(archive) == ["e0", "e1"]
    assert len(archive.written_segments()) == 2


def test_a_lost_position_is_a_failure(log: SqliteLog, archive: Archive) -> None:
    class Lost(OtherConsumer):
        def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
            raise LostPositionError("gone")

    writer = archiver(ReadThrough(log, Lost), archive)
    writer.start()
    wait_until(lambda: writer.failure is not None, seconds=10)
    writer.stop()
    assert isinstance(writer.failure, LostPositionError)


def test_a_number_beyond_64_bits_stops_nothing(log: SqliteLog, archive: Archive) -> None:
    order = 10**20
    send(log, EVENTS, "u", event(0))
    send(log, EVENTS, "u", event(1).model_copy(update={"context": {"order": order}}))
    send(log, EVENTS, "u", event(2))
    writer = archiver(log, archive)
    # Tried once: what fails for its content fails for ever.
    writer.end()
    writer.step()
    writer.flush()
    assert event_ids(archive) == ["e0", "e1", "e2"]
    (context,) = archive.events.scan().filter(event_id="e1").collect()["context"]
    assert json.loads(context) == {"order": order}


def test_it_merges_what_it_wrote_in_small_segments(log: SqliteLog, archive: Archive) -> None:
    failures = [OSError(28, "No space left on device")]

    class LongAfterwards:
        def __getattr__(self, name: str) -> Any:
            return getattr(archive, name)

        def merge(self, now: datetime) -> Any:
            if failures:
                raise failures.pop()
            return archive.merge(max(now, NOW) + timedelta(days=9))

    writer = archiver(log, LongAfterwards(), archive_rows=1, housekeeping_seconds=0.001)
    with capture_logs() as logs:
        for number in range(9):
            send(log, EVENTS, "u1", event(number, "u1"))
            send(log, EVENTS, "u2", event(100 + number, "u2"))
            writer.step()
    failed, line = logs
    assert (failed["event"], line["event"]) == ("merge_failed", "archive_merged")
    assert (line["kind"], line["files"], line["rows"]) == ("events", 8, 16)
    assert len(event_ids(archive)) == 18
    # It erases from merged files too.
    send(log, USERS, "u1", None)
    writer.step()
    assert set(archive.events.scan().collect()["user_id"]) == {"u2"}
    (day,) = archive.events.days()
    assert set(archive.events.scan_day(day).collect()["user_id"]) == {"u2"}
