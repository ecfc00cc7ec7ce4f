import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    EventLogError,
    LogRecord,
    Message,
    TopicPartition,
)
from feature_repo.history import UserHistory
from feature_repo.online_features import (
    CoVisitation,
    ItemEmbedding,
    ItemStatistics,
    UserEmbedding,
)
from feature_repo.schema import Item
from serving.item_changelog import ItemUpsert, decode_change
from streaming.build_worker import build_worker
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import StateError
from streaming.worker import Worker
from tests.support.stream import NOW, FakeModel, HashEncoder, MemoryOnline, event, item


def worker_on(
    folder: Path,
    online: Any,
    model: FakeModel | None = None,
    statistics_seconds: float = 0,
    **options: Any,
) -> Worker:
    return build_worker(
        SqliteLog(folder / "log.sqlite"),
        online,
        SqliteState(folder / "checkpoint.sqlite"),
        model or FakeModel(),
        settings=StreamingSettings(retry_seconds=0.001, statistics_seconds=statistics_seconds),
        clock=lambda: NOW,
        **options,
    )


def send(worker: Worker, *changes: Any) -> dict[TopicPartition, int]:
    at: dict[TopicPartition, int] = {}
    for change in changes:
        topic, key = (ITEMS, change.item_id) if isinstance(change, Item) else (EVENTS, "u")
        at |= worker._log.append(topic, [Message(key, change.model_dump_json().encode())])
    return at


def test_a_running_worker_makes_events_visible_and_says_so(tmp_path: Path) -> None:
    told: list[ItemStatistics] = []
    online = MemoryOnline()
    worker = worker_on(tmp_path, online, on_statistics=told.extend)
    worker.start()
    at = send(worker, item(1), event(1, item="i1"), event(2, item="i1", minutes=1))
    with worker.applied.expect(at) as done:
        done.result(30)
    (history,) = online.get(UserHistory, ["u"])
    (embedding,) = online.get(UserEmbedding, ["u"])
    assert [each.event_id for each in history.events] == ["e1", "e2"]
    assert embedding.history_timestamp == history.events[-1].timestamp
    assert np.array_equal(embedding.vector, HashEncoder().encode_queries([history])[0])
    assert worker.ready
    worker.stop()
    assert worker.failure is None
    (statistics,) = online.get(ItemStatistics, ["i1"])
    assert told[-1] == statistics

    later: list[ItemStatistics] = []
    worker = worker_on(tmp_path, online, on_statistics=later.extend)
    worker.recover()
    assert later == [statistics]


def test_the_sums_of_all_items_are_read_for_those_who_listen_alone(tmp_path: Path) -> None:
    class Counting(SqliteState):
        read: ClassVar[list[str]] = []

        def all_statistics(self, batch: int = 10_000) -> Iterator[list[ItemStatistics]]:
            self.read.append("statistics")
            return super().all_statistics(batch)

        def all_co_visitation(self, batch: int = 1_000) -> Iterator[list[CoVisitation]]:
            self.read.append("co-visitation")
            return super().all_co_visitation(batch)

    log, state = SqliteLog(tmp_path / "log.sqlite"), Counting(tmp_path / "state.sqlite")
    build_worker(log, MemoryOnline(), state, FakeModel()).recover()
    assert state.read == []
    build_worker(log, MemoryOnline(), state, FakeModel(), on_statistics=print).recover()
    assert state.read == ["statistics"]
    state.close()
    log.close()


def test_an_online_store_that_is_down_delays_and_loses_nothing(tmp_path: Path) -> None:
    class Down(MemoryOnline):
        failures = 0

        def push(self, records: Any) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no store here")
            super().push(records)

    online = Down()
    worker = worker_on(tmp_path, online)
    worker.recover()
    online.failures = 5
    send(worker, item(1), event(1))
    worker.step()
    assert online.failures == 0
    assert len(online.get(UserHistory, ["u"])[0].events) == 1
    # Every replica reads the changelog: a try is not appended to it.
    assert len(worker._log.consumer(None, [ITEM_EMBEDDINGS]).poll(100, 0.0)) == 1


def test_a_worker_stopped_before_a_dead_store_leaves_its_work_to_the_next(tmp_path: Path) -> None:
    reached = threading.Event()

    class Down(MemoryOnline):
        def push(self, records: Any) -> None:
            # Beside what the event changes, the worker gives the store a mark.
            if any(isinstance(record, UserHistory) for record in records):
                reached.set()
            raise ConnectionError("no store here")

    first = worker_on(tmp_path, Down())
    first.start()
    send(first, event(1))
    assert reached.wait(30)
    first.stop()
    assert isinstance(first.failure, ConnectionError)
    online = MemoryOnline()
    worker_on(tmp_path, online).recover()
    assert len(online.get(UserHistory, ["u"])[0].events) == 1


def test_the_lists_are_pushed_in_pages_so_that_events_need_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.outbox_relay.PAGE", 2)
    pages: list[int] = []
    now = 0.0
    online = MemoryOnline()
    worker = worker_on(
        tmp_path,
        online,
        statistics_seconds=1.0,
        on_statistics=lambda some: pages.append(len(some)),
        monotonic=lambda: now,
    )
    worker.recover()
    send(worker, event(0, item="i0"))
    worker.step()
    assert pages == [1]
    pages.clear()
    # The lists rest between two rounds.
    send(worker, *(event(number, item=f"i{number}") for number in range(1, 5)))
    worker.step()
    assert not pages
    # An event between two pages is applied at once, and lets no item wait for ever.
    for number in range(5, 9):
        now += 1.0
        send(worker, event(number, item="i0"))
        worker.step()
        assert len(online.get(UserHistory, ["u"])[0].events) == number + 1
    assert all(pages[:2])
    assert max(pages) <= 3
    assert all(online.get(ItemStatistics, [f"i{number}" for number in range(5)]))
    assert not worker._state.count_unpushed()


def test_an_encoder_that_fails_stops_nothing(tmp_path: Path) -> None:
    class Broken(HashEncoder):
        def encode_queries(self, *_: Any) -> np.ndarray:
            raise RuntimeError("no graph")

        def encode_candidates(self, items: Any, at: Any) -> np.ndarray:
            return np.full((len(items), 4), np.nan, np.float32)

    for name, encoder in {"broken": Broken(), "none": None}.items():
        folder = tmp_path / name
        folder.mkdir()
        online = MemoryOnline()
        worker = worker_on(folder, online, FakeModel(encoder))
        send(worker, item(1), event(1))
        worker.recover()
        worker.step()
        assert len(online.get(UserHistory, ["u"])[0].events) == 1
        assert online.get(UserEmbedding, ["u"]) == [None]
        assert online.get(ItemEmbedding, ["i1"]) == [None]
        (record,) = worker._log.consumer(None, [ITEM_EMBEDDINGS]).poll(10, 0.0)
        change = decode_change(record)
        assert isinstance(change, ItemUpsert)
        assert change.item == item(1)
        assert change.embedding.shape == (0,)


def test_what_a_down_state_holds_up_is_told_apart(tmp_path: Path) -> None:
    """Each call to the state fails once; the metrics say how often which step was repeated."""
    state = SqliteState(tmp_path / "checkpoint.sqlite")
    left = {"load", "commit", "unpushed", "forget_pushed"}

    class Down:
        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                if name in left:
                    left.remove(name)
                    raise StateError("the state is down")
                return getattr(state, name)(*arguments)

            return call

    worker = build_worker(
        SqliteLog(tmp_path / "log.sqlite"),
        MemoryOnline(),
        Down(),  # type: ignore[arg-type]
        FakeModel(),
        settings=StreamingSettings(retry_seconds=0.001, statistics_seconds=0),
        clock=lambda: NOW,
    )
    send(worker, event(1))
    worker.recover()
    worker.step()
    (metric,) = worker.metrics.retries.collect()
    assert {s.labels["stage"]: s.value for s in metric.samples if s.name.endswith("_total")} == {
        "load": 1, "commit state": 1, "unpushed": 1, "forget pushed": 1,
    }  # fmt: skip
    assert not state.count_unpushed()


def test_dead_letters_are_counted_by_the_topic_that_they_came_from(tmp_path: Path) -> None:
    worker = worker_on(tmp_path, MemoryOnline())
    worker.recover()

    def dead() -> dict[str, float | None]:
        name = "riverrun_stream_records_total"
        read = worker.metrics.registry.get_sample_value
        return {topic: read(name, {"topic": topic, "result": "dead"}) for topic in (EVENTS, ITEMS)}

    send(worker, event(1))
    worker.step()
    assert dead() == {EVENTS: 0, ITEMS: 0}
    worker._log.append(ITEMS, [Message("i1", b"no record")] * 2)
    worker.step()
    assert dead() == {EVENTS: 0, ITEMS: 2}


def test_a_commit_whose_answer_is_lost_is_pushed_and_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = MemoryOnline()
    worker = worker_on(tmp_path, online)
    commit, answers = worker._state.commit, [True, False]

    def lossy(*arguments: Any) -> str:
        stamp = commit(*arguments)
        if not answers.pop():
            raise StateError("timed out")
        return stamp

    monkeypatch.setattr(worker._state, "commit", lossy)
    worker.recover()
    with worker.applied.expect(send(worker, event(1))) as done:
        worker.step()
        assert done.done()
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == ["e1"]
    assert not worker._state.count_unpushed()
    assert worker.positions == {TopicPartition(EVENTS, 0): 2}


def test_what_was_committed_before_another_worker_went_on_is_pushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and the other dies before it has pushed anything."""

    class Down(MemoryOnline):
        def push(self, records: Any) -> None:
            raise KeyboardInterrupt

    online = MemoryOnline()
    worker, other = worker_on(tmp_path, online), worker_on(tmp_path, Down())
    commit, answers = worker._state.commit, [True, False]

    def lossy(*arguments: Any) -> str:
        stamp = commit(*arguments)
        if not answers.pop():
            send(other, event(2, minutes=1))
            with pytest.raises(KeyboardInterrupt):
                other.step()
            raise StateError("timed out")
        return stamp

    monkeypatch.setattr(worker._state, "commit", lossy)
    worker.recover()
    send(worker, event(1))
    worker.step()
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == ["e1", "e2"]
    assert not worker._state.count_unpushed()
    assert worker.positions == {TopicPartition(EVENTS, 0): 3}


def while_lingering(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, happens: Callable[[], object]
) -> None:
    """Let something happen whenever the worker has two records, and waits for more."""
    poll = worker._consumer.poll

    def more(*_: Any) -> list[LogRecord]:
        happens()
        return []

    monkeypatch.setattr(worker._consumer, "poll", lambda most, wait: poll(min(most, 2), wait))
    monkeypatch.setattr(worker._consumer, "more", more)


def test_records_in_hand_are_not_lost_when_a_poll_for_more_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = MemoryOnline()
    worker = worker_on(tmp_path, online)

    def fail() -> None:
        raise EventLogError("no broker answers")

    send(worker, *(event(number, minutes=number) for number in range(5)))
    while_lingering(monkeypatch, worker, fail)
    worker.recover()
    while worker.step():
        pass
    (history,) = online.get(UserHistory, ["u"])
    assert [each.event_id for each in history.events] == [f"e{number}" for number in range(5)]


def test_records_of_a_partition_that_went_and_came_back_take_its_position_back_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While this worker waits for more, another has the partition, and gets on with it."""
    worker, other = (worker_on(tmp_path, MemoryOnline()) for _ in range(2))
    send(worker, *(event(number, minutes=number) for number in range(5)))
    source = TopicPartition(EVENTS, 0)

    def go_and_come_back() -> None:
        other.recover()
        while other.step():
            pass
        worker._consumer.seek(worker._assigned({source: 0}))

    while_lingering(monkeypatch, worker, go_and_come_back)
    worker.recover()
    worker.step()
    assert worker._state.load(0, (), ()).positions == other._state.load(0, (), ()).positions
    assert worker.positions[source] == 6
    assert not worker.step()
