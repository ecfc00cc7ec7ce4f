"""Before an import the archive has what was posted, whoever archives, and no longer waits for."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    USERS,
    EventLog,
    LogConsumer,
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.exclusive_lock import exclusive
from feature_repo.log_records import encode_record
from feature_repo.shop_file import ShopFileError
from streaming.archive_changes import NotArchivedError, archive_changes
from streaming.archiver import GROUP, Archiver
from streaming.imports import Unarchived, unread_keys
from streaming.kafka_log import KafkaLog
from streaming.metrics import StreamMetrics
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.standby_archiver import StandbyArchiver
from tests.support.archived import archive_log
from tests.support.kafka_server import fresh_topics
from tests.support.read_through import ReadThrough
from tests.support.stream import event, item, user
from tests.support.waiting import wait_until

NEVER = StreamingSettings(archive_seconds=1e6)
"""So that nothing is written only because it is old."""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    with closing(SqliteLog(tmp_path / "log.sqlite")) as log:
        yield log


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def post(log: EventLog) -> None:
    log.append(EVENTS, [Message("u", encode_record(event(1)))])
    log.append(ITEMS, [Message("i1", encode_record(item(1)))])
    log.append(ITEMS, [Message("i2", encode_record(item(2)))])
    log.append(ITEMS, [Message("i1", None), Message("i3", b"no item")])
    log.append(USERS, [Message("u1", encode_record(user(1)))])


def holds_all(archive: Archive) -> bool:
    return archive.items() == [item(2)] and archive.users() == [user(1)]


def test_where_nobody_archives_it_does(log: SqliteLog, archive: Archive) -> None:
    post(log)
    archive_changes(log, archive, NEVER)
    assert holds_all(archive)
    files = {*archive.root.rglob("*")}
    log.append(EVENTS, [Message("u", encode_record(event(2)))])
    archive_changes(log, archive, NEVER)
    assert {*archive.root.rglob("*")} == files


def test_who_archives_writes_at_once(log: SqliteLog, archive: Archive) -> None:
    """Not when `archive_seconds` are over."""
    running = StandbyArchiver(
        archive.root,
        lambda: Archiver(log, archive, settings=NEVER),
        Retrying(NEVER, StreamMetrics()),
    )
    running.start()
    try:
        wait_until(lambda: running.archives, seconds=30)
        for _ in range(2):
            post(log)
            archive_changes(log, archive, NEVER)
            assert holds_all(archive)
            log.append(ITEMS, [Message("i2", None)])
        assert running.archives
    finally:
        running.stop()


def test_a_damaged_mark_of_an_erasure_is_told_as_such(log: SqliteLog, archive: Archive) -> None:
    post(log)
    archive.marks.write(0, {"u": 1}, {})
    (archive.root / "erasures" / "00000.json").write_bytes(b'[0,{"u"')
    with pytest.raises(ShopFileError, match=r"00000\.json: cannot be used: "):
        archive_changes(log, archive, NEVER)


def test_what_is_archived_and_leaves_the_log_meanwhile_is_no_lost_position(
    log: SqliteLog, archive: Archive
) -> None:
    """A running `riverrun up` archives and trims between any two reads of an import."""

    def archived_and_trimmed(consumer: LogConsumer) -> LogConsumer:
        archive_log(log, archive)
        for topic in (ITEMS, USERS):
            log.trim(topic, [GROUP])
        return consumer

    post(log)
    archive_changes(ReadThrough(log, archived_and_trimmed), archive, NEVER)  # type: ignore[arg-type]
    assert holds_all(archive)
    log.append(ITEMS, [Message("i2", None)])
    log.append(USERS, [Message("u1", None)])
    meanwhile = ReadThrough(log, archived_and_trimmed)
    assert Unarchived.of(meanwhile) == (set(), set(), set())  # type: ignore[arg-type]
    assert not archive.items()
    assert unread_keys(log, ITEMS, {TopicPartition(ITEMS, 0): 1}) == set()


def test_however_often_it_is_asked_an_archiver_that_is_behind_writes_few_segments(
    log: SqliteLog, archive: Archive
) -> None:
    posted = [event(number) for number in range(2_500)]
    log.append(EVENTS, [Message(each.user_id, encode_record(each)) for each in posted])
    archiver = Archiver(log, archive, settings=NEVER)
    archive.request_writing()
    while archiver.step():
        archive.request_writing()
    archiver.stop()
    assert archive.events.scan().collect().height == 2_500
    assert len(archive.events.complete()) == 1


def test_it_does_not_wait_for_ever(log: SqliteLog, archive: Archive) -> None:
    post(log)
    archive.root.mkdir()
    with (
        exclusive(archive.root / "lock"),
        pytest.raises(NotArchivedError, match="the archiver has read nothing for 0 s"),
    ):
        archive_changes(log, archive, NEVER, patience=0.1)


def test_it_says_why_it_cannot(log: SqliteLog, archive: Archive, tmp_path: Path) -> None:
    post(log)

    class Lost(SqliteLog):
        def consumer(self, group: str | None, *args: object) -> object:  # type: ignore[override]
            if group is not None:
                raise LostPositionError("the log was replaced")
            return super().consumer(group, *args)  # type: ignore[arg-type]

    with (
        closing(Lost(tmp_path / "log.sqlite")) as lost,
        pytest.raises(LostPositionError, match="was replaced"),
    ):
        archive_changes(lost, archive, NEVER)


@pytest.mark.kafka
def test_of_a_broker_too(kafka_address: str, archive: Archive) -> None:
    with closing(KafkaLog(fresh_topics(kafka_address))) as log:
        archive_changes(log, archive, NEVER)
        post(log)
        archive_changes(log, archive, NEVER)
        assert holds_all(archive)
