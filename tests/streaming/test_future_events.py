"""Whether an event lies too far ahead is a fact of its record, whoever reads it and whenever."""

import math
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, Message
from feature_repo.times import DAY, microseconds
from streaming.dead_letters import dead_letters, replay
from streaming.rebuild import rebuild
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import OpenState
from streaming.worker import Worker
from tests.support.archived import archive_log
from tests.support.read_through import unwaiting
from tests.support.stream import NOW, FakeModel, MemoryOnline, event

BOUND = timedelta(days=1)
HOURS = st.integers(-48, 72).map(lambda hours: timedelta(hours=hours))


class SetClock:
    """Stands still until it is set, with the log that it is the clock of."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.log = SqliteLog(folder / "log.sqlite", lambda: self.now.timestamp())


class Killed(BaseException):
    """What nothing catches."""


class Unwritable(SqliteState):
    """The state of a worker that dies when it would commit."""

    def commit(self, *_: Any, **__: Any) -> str:
        raise Killed


def work(log: SqliteLog, state: OpenState) -> set[str]:
    """Let a worker read all there is; return the events of its histories."""
    settings = StreamingSettings(linger_seconds=0)
    worker = Worker(unwaiting(log), MemoryOnline(), state, FakeModel(), settings=settings)
    try:
        worker.recover()
        while worker.step():
            pass
    finally:
        worker.stop()
    return known(state)


def known(state: OpenState) -> set[str]:
    histories = [each for some in state.all_histories() for each in some]
    return {each.event_id for history in histories for each in history.events}


def archived(log: SqliteLog, archive: Archive) -> set[str]:
    archive_log(log, archive)
    return set(archive.events.scan().collect()["event_id"])


def within_a_day(state: OpenState) -> float:
    """Return what the events of all items count for within a day, as of `NOW`."""
    counted = [each for some in state.all_statistics() for each in some]
    return sum(
        sum(each.day) * math.exp((each.timestamp - microseconds(NOW)) / DAY) for each in counted
    )


def decayed(ages: list[timedelta]) -> float:
    """Return what events of these ages, which the log had then at the earliest, count for."""
    return sum(math.exp(-age / timedelta(days=1)) for age in ages)


@settings(max_examples=15, deadline=None)
@given(
    sent=st.lists(st.tuples(HOURS, HOURS), max_size=12),
    pauses=st.tuples(HOURS, HOURS, HOURS),
)
def test_worker_archiver_and_rebuild_judge_alike_whenever_they_read(
    sent: list[tuple[timedelta, timedelta]], pauses: tuple[timedelta, ...]
) -> None:
    """One worker dies between its dead letters and its commit, and another reads it all later.

    sent: when the log takes each event, and how far ahead of that it lies.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        clock, archive = SetClock(folder), Archive(folder / "archive")
        log = clock.log
        for number, (later, ahead) in enumerate(sent):
            clock.now = NOW + later
            made: Any = event(number).model_copy(update={"timestamp": clock.now + ahead})
            log.append(EVENTS, [Message("u", made.model_dump_json().encode())])
        good = {f"e{number}" for number, (_, ahead) in enumerate(sent) if ahead <= BOUND}
        state = SqliteState(folder / "state.sqlite")
        rebuilt = SqliteState(folder / "rebuilt.sqlite")

        clock.now += pauses[0]
        with closing(Unwritable(folder / "state.sqlite")) as dying, suppress(Killed):
            work(log, dying)
        clock.now += pauses[1]
        assert work(log, state) == good
        assert len(list(dead_letters(log))) == len(sent) - len(good)
        clock.now += pauses[2]
        assert archived(log, archive) == good
        rebuild(archive, rebuilt, MemoryOnline(), log)
        assert known(rebuilt) == good
        ages = [max(-ahead, timedelta()) - later for later, ahead in sent if ahead <= BOUND]
        assert within_a_day(state) == pytest.approx(decayed(ages))
        assert within_a_day(rebuilt) == pytest.approx(decayed(ages))
        for each in (state, rebuilt, log):
            each.close()


def test_an_event_that_came_too_early_can_be_put_back_when_its_time_has_come(
    tmp_path: Path,
) -> None:
    clock, state = SetClock(tmp_path), SqliteState(tmp_path / "state.sqlite")
    early = event(1).model_copy(update={"timestamp": NOW + timedelta(hours=25)})
    clock.log.append(EVENTS, [Message("u", early.model_dump_json().encode())])
    assert work(clock.log, state) == set()
    clock.now += timedelta(hours=2)
    assert replay(clock.log, lambda _: {}, 0).put_back == 1
    assert work(clock.log, state) == {"e1"}
    state.close()
    clock.log.close()
