"""What the members of a group do with partitions: a log whose partitions are shared out."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pytest

from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    USERS,
    EventLog,
    LogRecord,
    Message,
    TopicPartition,
)
from streaming.kafka_log import KafkaLog
from tests.support.kafka_server import fresh_topics
from tests.support.waiting import wait_until


@pytest.fixture(params=[pytest.param("kafka", marks=pytest.mark.kafka)])
def partitioned(request: pytest.FixtureRequest) -> Iterator[EventLog]:
    """A log whose topics have four partitions each, which the members of a group share."""
    log = KafkaLog(fresh_topics(request.getfixturevalue("kafka_address"), partitions=4))
    yield log
    log.close()


class Member:
    """Polls as a member of group `g` in a thread, and keeps its positions in `store`."""

    def __init__(
        self,
        log: EventLog,
        store: dict[TopicPartition, int],
        topics: Sequence[str] = (EVENTS,),
    ) -> None:
        self.records: list[LogRecord] = []
        self.given: list[TopicPartition] = []
        self._store = store
        self._consumer = log.consumer("g", topics, self._positions)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        return self._consumer.assigned

    def leave(self) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _positions(
        self, committed: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, int]:
        self.given.extend(committed)
        return {each: self._store[each] for each in committed if each in self._store}

    def _run(self) -> None:
        while not self._stop.is_set():
            for record in self._consumer.poll(50, 0.1):
                self._store[record.source] = record.offset + 1
                self.records.append(record)


until = partial(wait_until, seconds=60)


def test_a_groups_members_share_the_partitions_and_take_over(partitioned: EventLog) -> None:
    store: dict[TopicPartition, int] = {}
    everything = {TopicPartition(EVENTS, number) for number in range(4)}
    one = Member(partitioned, store)
    until(lambda: one.assigned == everything)
    two = Member(partitioned, store)
    until(lambda: two.assigned == set(two.given) == everything - one.assigned != set())
    numbers = [f"{number % 40}:{number // 40}" for number in range(400)]
    sent = [Message(each.split(":")[0], each.encode()) for each in numbers]
    partitioned.append(EVENTS, sent[:200])
    until(lambda: len(one.records) + len(two.records) >= 200)
    assert one.records
    assert two.records
    two.leave()
    until(lambda: one.assigned == everything)
    assert len(one.given) == 6  # what it had, and then what the other has left behind
    partitioned.append(EVENTS, sent[200:])
    until(lambda: len(one.records) + len(two.records) >= 400)
    one.leave()
    seen = [
        record.value.decode() for record in two.records + one.records if record.value is not None
    ]
    assert sorted(seen) == sorted(numbers)
    for key in range(40):
        own = [value for value in seen if value.startswith(f"{key}:")]
        assert own == [f"{key}:{turn}" for turn in range(10)]


def test_of_several_topics_each_member_has_its_share_of_each(partitioned: EventLog) -> None:
    topics = (EVENTS, ITEMS, USERS)
    everything = {TopicPartition(topic, number) for topic in topics for number in range(4)}
    one = Member(partitioned, {}, topics)
    until(lambda: one.assigned == everything)
    two = Member(partitioned, {}, topics)
    until(lambda: len(two.assigned) == 6 and one.assigned == everything - two.assigned)
    numbers = {number for _, number in two.assigned}
    assert two.assigned == {TopicPartition(topic, each) for topic in topics for each in numbers}
    two.leave()
    until(lambda: one.assigned == everything)
    one.leave()
