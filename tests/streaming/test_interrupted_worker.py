"""A worker whose commit, poll or partition is cut off loses nothing, and counts nothing twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feature_repo.event_log import (
    EVENTS,
    EventLogError,
    LogConsumer,
    LogRecord,
    TopicPartition,
)
from feature_repo.history import UserHistory
from streaming.stream_state import OpenState, StateError
from tests.support.read_through import OtherConsumer, ReadThrough
from tests.support.stream import MemoryOnline, event
from tests.support.worker_home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


class Lossy:
    """A state that loses the answer to the second commit, after which something happens."""

    def __init__(self, state: OpenState, happens: Callable[[], object]) -> None:
        self._state = state
        self._happens = happens
        self._answers = [True, False]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def commit(self, *arguments: Any) -> str:
        stamp = self._state.commit(*arguments)
        if not self._answers.pop():
            self._happens()
            raise StateError("timed out")
        return stamp


def test_a_commit_whose_answer_is_lost_is_pushed_and_told_at_once(home: Home) -> None:
    online = MemoryOnline()

    home.state = Lossy(home.state, lambda: None)
    worker = home.worker(online)
    worker.recover()
    with worker.applied.expect(home.send(event(1))) as done:
        worker.step()
        assert done.done()
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == ["e1"]
    assert not home.state.count_unpushed()
    assert worker.positions == {TopicPartition(EVENTS, 0): 2}


def test_what_was_committed_before_another_worker_went_on_is_pushed(tmp_path: Path) -> None:
    """The answer is lost, and the other dies before it has pushed anything."""

    class Down(MemoryOnline):
        def push(self, records: Any) -> None:
            raise KeyboardInterrupt

    online = MemoryOnline()
    home, others = Home(tmp_path), Home(tmp_path)
    other = others.worker(Down())

    def other_goes_on() -> None:
        others.send(event(2, minutes=1))
        with pytest.raises(KeyboardInterrupt):
            other.step()

    home.state = Lossy(home.state, other_goes_on)
    worker = home.worker(online)
    worker.recover()
    home.send(event(1))
    worker.step()
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == ["e1", "e2"]
    assert not home.state.count_unpushed()
    assert worker.positions == {TopicPartition(EVENTS, 0): 3}


class Lingering(OtherConsumer):
    """Gives two records at most; whenever it is asked for more, something happens."""

    def __init__(self, consumer: LogConsumer, happens: Callable[[LogConsumer], object]) -> None:
        super().__init__(consumer)
        self._happens = happens

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        return self.consumer.poll(min(max_records, 2), timeout)

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        self._happens(self.consumer)
        return []


def test_records_in_hand_are_not_lost_when_a_poll_for_more_fails(
    home: Home,
) -> None:
    def fail(_: LogConsumer) -> None:
        raise EventLogError("no broker answers")

    home.send(*(event(number, minutes=number) for number in range(5)))
    home.log = ReadThrough(home.log, lambda consumer: Lingering(consumer, fail))
    online = MemoryOnline()
    worker = home.worker(online)
    worker.recover()
    while worker.step():
        pass
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == [f"e{number}" for number in range(5)]


def test_records_of_a_partition_that_went_and_came_back_take_its_position_back_nowhere(
    tmp_path: Path,
) -> None:
    """While this worker waits for more, another has the partition, and gets on with it."""
    home, others = Home(tmp_path), Home(tmp_path)
    other = others.worker(MemoryOnline())
    home.send(*(event(number, minutes=number) for number in range(5)))
    source = TopicPartition(EVENTS, 0)

    class Reassigning(ReadThrough):
        def consumer(self, group: Any, topics: Any, positions: Any = None) -> Any:
            self.positions = positions
            return super().consumer(group, topics, positions)

    def go_and_come_back(consumer: LogConsumer) -> None:
        other.recover()
        while other.step():
            pass
        consumer.seek(log.positions({source: 0}))

    log = Reassigning(home.log, lambda consumer: Lingering(consumer, go_and_come_back))
    home.log = log
    worker = home.worker(MemoryOnline())
    worker.recover()
    worker.step()
    assert home.state.load(0, (), ()).positions == others.state.load(0, (), ()).positions
    assert worker.positions[source] == 6
    assert not worker.step()


def test_where_another_has_the_partition_a_broker_may_be_away_for_a_moment(tmp_path: Path) -> None:
    home, others = Home(tmp_path), Home(tmp_path)
    other = others.worker(MemoryOnline())
    failures = iter([EventLogError("no broker answers")])

    class Away(OtherConsumer):
        def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
            records = self.consumer.poll(max_records, timeout)
            if records:
                other.recover()
                other.step()
            return records

        def seek(self, positions: Any) -> None:
            for error in failures:
                raise error
            self.consumer.seek(positions)

    home.send(event(1))
    home.log = ReadThrough(home.log, Away)
    worker = home.worker(MemoryOnline())
    worker.recover()
    worker.step()
    assert not list(failures)
    assert worker.positions == other.positions
    home.send(event(2, minutes=1))
    worker.step()
    assert worker.positions == {TopicPartition(EVENTS, 0): 3}
