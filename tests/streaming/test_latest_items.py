"""The latest items are those of all that the log has taken, whatever of it is archived."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    EventLog,
    LogRecord,
    LostPositionError,
    Message,
    TopicPartition,
)
from feature_repo.log_records import encode_record
from feature_repo.schema import Item
from streaming.archiver import GROUP, Archiver
from streaming.kafka_connection import parse_kafka_url
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from streaming.latest_items import latest_items
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from tests.support.archived import archive_log
from tests.support.kafka_server import fresh_topics
from tests.support.read_through import ReadThrough, Unwaiting
from tests.support.stream import event, item
from tests.support.waiting import wait_until

SETTINGS = StreamingSettings()
CHANGES: Sequence[tuple[str, Item | None]] = (
    ("i1", item(1)),
    ("i2", item(2)),
    ("i1", item(1).model_copy(update={"title": "another title"})),
    ("i2", None),
    ("i3", item(3)),
    ("i3", None),
    ("i3", item(3)),
)


@pytest.fixture
def log(tmp_path: Path) -> SqliteLog:
    return SqliteLog(tmp_path / "log.sqlite")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def send(log: EventLog, changes: Sequence[tuple[str, Item | None]]) -> None:
    for item_id, state in changes:
        value = None if state is None else encode_record(state)
        log.append(ITEMS, [Message(item_id, value)])


@pytest.mark.parametrize("archived", range(len(CHANGES) + 1))
def test_archived_or_not_they_are_the_same(log: SqliteLog, archive: Archive, archived: int) -> None:
    send(log, CHANGES[:archived])
    archive_log(log, archive, SETTINGS)
    log.append(EVENTS, [Message("u", event(0).model_dump_json().encode())])
    log.append(ITEMS, [Message("i9", b"no item")])
    send(log, CHANGES[archived:])
    expected = {item_id: state for item_id, state in CHANGES if state is not None}
    del expected["i2"]
    assert latest_items(archive, log, SETTINGS) == [expected["i1"], expected["i3"]]


def test_what_is_archived_as_they_are_read_is_not_left_out(
    log: SqliteLog, archive: Archive
) -> None:
    send(log, CHANGES[:4])

    class ArchivedMeanwhile:
        def items(self) -> Sequence[Item]:
            before = archive.items()
            archive_log(log, archive, SETTINGS)
            send(log, CHANGES[4:])
            return before

    found = latest_items(ArchivedMeanwhile(), log, SETTINGS)
    assert found == latest_items(archive, log, SETTINGS)
    assert [each.item_id for each in found] == ["i1", "i3"]


def test_neither_is_what_leaves_the_log_meanwhile(log: SqliteLog, archive: Archive) -> None:
    send(log, CHANGES[:4])
    reads = []

    class ArchivedAndTrimmedMeanwhile:
        def items(self) -> Sequence[Item]:
            before = archive.items()
            if not reads:
                archive_log(log, archive, SETTINGS)
                assert log.trim(ITEMS, [GROUP]) == 4
                send(log, CHANGES[4:])
            reads.append(before)
            return before

    found = latest_items(ArchivedAndTrimmedMeanwhile(), log, SETTINGS)
    assert found == latest_items(archive, log, SETTINGS)
    assert [each.item_id for each in found] == ["i1", "i3"]
    assert [len(each) for each in reads] == [0, 1]


def test_nor_is_what_leaves_it_between_two_pages(log: SqliteLog, archive: Archive) -> None:
    send(log, CHANGES)

    class Trimmed(Unwaiting):
        def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
            records = super().poll(max_records, timeout)
            archive_log(log, archive, SETTINGS)
            log.trim(ITEMS, [GROUP])
            return records

    found = latest_items(archive, ReadThrough(log, lambda each: Trimmed(each, 1)), SETTINGS)
    assert [each.item_id for each in found] == ["i1", "i3"]


@pytest.mark.parametrize("topic", [EVENTS, ITEMS])
def test_the_archive_is_read_twice_at_most_however_often_the_log_is_trimmed(
    log: SqliteLog, archive: Archive, topic: str
) -> None:
    send(log, CHANGES)
    archive_log(log, archive, SETTINGS)
    log.trim(ITEMS, [GROUP])
    reads = []

    class TrimmedMeanwhile:
        def items(self) -> Sequence[Item]:
            before = archive.items()
            reads.append(before)
            assert len(reads) < 9
            for number in range(2):
                value = event(number) if topic == EVENTS else item(9)
                log.append(topic, [Message("i9", encode_record(value))])
            archive_log(log, archive, SETTINGS)
            log.trim(topic, [GROUP])
            return before

    found = [each.item_id for each in latest_items(TrimmedMeanwhile(), log, SETTINGS)]
    assert found == (["i1", "i3"] if topic == EVENTS else ["i1", "i3", "i9"])
    assert len(reads) <= 2


def test_where_a_log_was_replaced_that_is_said(log: SqliteLog, archive: Archive) -> None:
    log.consumer(GROUP, [ITEMS]).commit({TopicPartition(ITEMS, 0): 9})
    with pytest.raises(LostPositionError, match="before position 9"):
        latest_items(archive, log, SETTINGS)


def test_an_import_is_in_them_unless_the_log_says_something_newer(
    log: SqliteLog, archive: Archive
) -> None:
    send(log, CHANGES[:2])
    archive_log(log, archive, SETTINGS)
    send(log, [("i2", None)])
    imported = [item(number).model_copy(update={"title": "imported"}) for number in (1, 2, 4)]
    archive.import_items("import-1", imported)
    assert latest_items(archive, log, SETTINGS) == [imported[0], imported[2]]


@pytest.mark.kafka
def test_of_a_broker_too(kafka_address: str, archive: Archive) -> None:
    with closing(KafkaLog(fresh_topics(kafka_address))) as log:
        writer = Archiver(log, archive, settings=SETTINGS)

        def archived() -> list[Item]:
            writer.step()
            writer.flush()
            return archive.items()

        for some, expected in ((CHANGES[:3], ["i1", "i2"]), (CHANGES[3:5], ["i1", "i3"])):
            send(log, some)
            found = latest_items(archive, log, SETTINGS)
            assert [each.item_id for each in found] == expected
            wait_until(lambda found=found: archived() == found, seconds=60)  # type: ignore[misc]
            assert latest_items(archive, log, SETTINGS) == found


@pytest.mark.kafka
def test_where_the_topics_are_not_there_yet_the_archive_has_all(
    kafka_address: str, archive: Archive
) -> None:
    archive.import_items("import-1", [item(1)])
    connection = parse_kafka_url(f"kafka://{kafka_address}/none-was-made", KafkaSettings())
    with closing(KafkaLog(connection)) as log:
        assert latest_items(archive, log, SETTINGS) == [item(1)]
