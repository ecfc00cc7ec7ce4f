"""What is behind is behind in the partitions that a worker has, and in no others."""

from pathlib import Path
from typing import Any

from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    USERS,
    LogConsumer,
    Message,
    TopicPartition,
)
from streaming.lag_monitor import LagMonitor
from streaming.metrics import StreamMetrics
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.read_through import OtherConsumer, ReadThrough
from tests.support.stream import FakeModel, MemoryOnline, event, item


class Shared(OtherConsumer):
    """Has lost some of its topics to another member of its group."""

    lost: frozenset[TopicPartition] = frozenset()

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        return self.consumer.assigned - self.lost


def test_a_worker_is_behind_in_what_is_its_own(tmp_path: Path) -> None:
    consumers: list[Shared] = []

    def shared(consumer: LogConsumer) -> Shared:
        consumers.append(Shared(consumer))
        return consumers[-1]

    log: Any = ReadThrough(SqliteLog(tmp_path / "log.sqlite"), shared)
    metrics = StreamMetrics()
    settings = StreamingSettings(linger_seconds=0, statistics_seconds=0)
    state = SqliteState(tmp_path / "state.sqlite")
    worker = Worker(log, MemoryOnline(), state, FakeModel(), settings=settings)
    lag = LagMonitor(log, worker, metrics)
    (consumer,) = consumers
    assert lag.measure() == 0

    def exported() -> dict[str, float]:
        (metric,) = metrics.lag.collect()
        return {sample.labels["topic"]: sample.value for sample in metric.samples}

    def send(topic: str, count: int) -> None:
        key, made = ("u", event(1)) if topic == EVENTS else ("i1", item(1))
        log.append(topic, [Message(key, made.model_dump_json().encode())] * count)

    send(EVENTS, 1)
    send(ITEMS, 1)
    worker.recover()
    worker.step()
    assert exported() == {}
    assert lag.measure() == 0
    assert consumer.assigned == {TopicPartition(topic, 0) for topic in (EVENTS, ITEMS, USERS)}
    # What has never had a record, too: a worker that waits for the first is at work.
    assert exported() == {EVENTS: 0, ITEMS: 0, USERS: 0}

    send(ITEMS, 2)
    send(EVENTS, 3)
    ends = log.ends([EVENTS, ITEMS])
    behind = {
        topic: ends[TopicPartition(topic, 0)] - at for (topic, _), at in worker.positions.items()
    }
    assert set(behind) == {EVENTS, ITEMS}
    assert (lag.measure(), exported()) == (sum(behind.values()), behind | {USERS: 0})
    consumer.lost = frozenset({TopicPartition(EVENTS, 0)})
    assert lag.measure() == lag.total == behind[ITEMS]
    assert exported() == {ITEMS: behind[ITEMS], USERS: 0}
    assert set(worker.positions) == {TopicPartition(ITEMS, 0)}
    consumer.lost = frozenset()
    assert (lag.measure(), exported()) == (sum(behind.values()), behind | {USERS: 0})
    log.close()


def test_what_waits_in_a_partition_that_was_never_read_counts(tmp_path: Path) -> None:
    log: Any = SqliteLog(tmp_path / "log.sqlite")
    state = SqliteState(tmp_path / "state.sqlite")
    settings = StreamingSettings(linger_seconds=0, statistics_seconds=0)
    worker = Worker(log, MemoryOnline(), state, FakeModel(), settings=settings)
    lag = LagMonitor(log, worker, worker.metrics)
    worker.recover()
    worker.step()
    assert worker.positions == {}
    assert lag.measure() == 0
    log.append(EVENTS, [Message("u", event(1).model_dump_json().encode())] * 3)
    assert lag.measure() == 3
    worker.step()
    assert lag.measure() == 0
    log.close()
