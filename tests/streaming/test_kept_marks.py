"""How long it is remembered that a user was erased."""

import itertools
import time
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS, LogRecord, Message
from streaming.archiver import Archiver
from streaming.kafka_settings import KafkaSettings
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.interleaved_log import InterleavedConsumer, InterleavedLog
from tests.support.read_through import unwaiting
from tests.support.stream import FakeModel, MemoryOnline, event

ERASURE = (USERS, Message("u0", None))


def act(number: int) -> tuple[str, Message]:
    return EVENTS, Message("u0", event(number, "u0").model_dump_json().encode())


def archive_all(archiver: Archiver) -> None:
    while archiver.step():
        pass
    archiver.flush()


@pytest.mark.parametrize(("events", "letters"), [(1, 2), (2, 1), (3, 0)])
def test_the_archive_forgets_marks_that_no_record_or_letter_can_precede(
    tmp_path: Path, events: int, letters: int
) -> None:
    """What is unread is kept for so many moments, and for so many more if it is refused at last."""
    day = 86_400_000
    kafka = KafkaSettings(
        # A little more than none, which is no setting.
        events_retention_days=(events + 0.2) / day,
        dead_letters_retention_days=(letters + 0.2) / day,
    )
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    archiver = Archiver(
        InterleavedLog(log, itertools.cycle([EVENTS])), archive,
        settings=StreamingSettings(kafka=kafka),
    )  # fmt: skip
    for topic, message in (act(0), ERASURE):
        log.append(topic, [message])
    archive_all(archiver)
    for number in range(2, 5):
        topic, message = act(number)
        log.append(topic, [message])
        archive_all(archiver)
        assert archive.marks.moments() == {0: {"u0": 2}}
        assert archiver._erased_at.keys() == {"u0"}
    for topic, message in (act(5), (ITEMS, Message("i1", None))):
        log.append(topic, [message])
    archive_all(archiver)
    assert archive.marks.moments() == {0: {}}
    # Nor does it stay in memory.
    assert archiver._erased_at == archive.marks.erased_at() == {}
    archiver.stop()
    log.close()


def test_a_timestamp_from_the_future_makes_nobody_forget_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer may count in microseconds, where a topic keeps its producers' times."""
    day = 86_400_000
    kafka = KafkaSettings(events_retention_days=3 / day, dead_letters_retention_days=3 / day)
    settings = StreamingSettings(kafka=kafka, linger_seconds=0)
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    state = SqliteState(tmp_path / "state.sqlite")
    ahead = time.time_ns() // 1_000
    poll = InterleavedConsumer.poll

    def forged(consumer: InterleavedConsumer, max_records: int, timeout: float) -> list[LogRecord]:
        records = poll(consumer, max_records, timeout)
        return [each._replace(moment=ahead) if each.offset == 3 else each for each in records]

    monkeypatch.setattr(InterleavedConsumer, "poll", forged)
    broker = InterleavedLog(log, itertools.cycle([EVENTS, USERS]))
    archiver = Archiver(broker, archive, settings=settings)
    worker = Worker(broker, MemoryOnline(), state, FakeModel(), settings=settings)
    worker.recover()
    for topic, message in (act(0), ERASURE, act(3)):
        log.append(topic, [message])
        archive_all(archiver)
        while worker.step():
            pass
    assert archive.marks.moments() == {0: {"u0": 2}}
    assert state.load(0, ["u0"], ()).erasures == {"u0": 2}
    for number in range(4, 11):
        topic, message = act(number)
        log.append(topic, [message])
    archive_all(archiver)
    while worker.step():
        pass
    assert archive.marks.moments() == {0: {}}
    assert state.load(0, ["u0"], ()).erasures == {}
    worker.stop()
    archiver.stop()
    state.close()
    log.close()


def test_the_embedded_log_keeps_its_dead_letters_and_so_the_archive_its_marks(
    tmp_path: Path,
) -> None:
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    archiver = Archiver(unwaiting(log), archive)
    for topic, message in (act(0), ERASURE, act(2)):
        log.append(topic, [message])
        archive_all(archiver)
    assert archive.marks.moments() == {0: {"u0": 2}}
    archiver.stop()
    log.close()
