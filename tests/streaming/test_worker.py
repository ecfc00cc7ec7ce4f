import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    Message,
)
from feature_repo.history import UserHistory
from feature_repo.online_features import (
    CoVisitation,
    ItemEmbedding,
    ItemStatistics,
    UserEmbedding,
)
from serving.item_changelog import ItemUpsert, decode_change
from streaming.metrics import RETRIED
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import StateError
from streaming.worker import Worker
from tests.support.stream import FakeModel, HashEncoder, MemoryOnline, event, item
from tests.support.worker_home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_running_worker_makes_events_visible_and_says_so(home: Home) -> None:
    told: list[ItemStatistics] = []
    online = MemoryOnline()
    worker = home.worker(online, on_statistics=told.extend)
    worker.start()
    at = home.send(item(1), event(1, item="i1"), event(2, item="i1", minutes=1))
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
    worker = home.worker(online, on_statistics=later.extend)
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
    Worker(log, MemoryOnline(), state, FakeModel()).recover()
    assert state.read == []
    Worker(log, MemoryOnline(), state, FakeModel(), on_statistics=print).recover()
    assert state.read == ["statistics"]
    state.close()
    log.close()


def test_an_online_store_that_is_down_delays_and_loses_nothing(home: Home) -> None:
    class Down(MemoryOnline):
        failures = 0

        def push(self, records: Any) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no store here")
            super().push(records)

    online = Down()
    worker = home.worker(online)
    worker.recover()
    online.failures = 5
    home.send(item(1), event(1))
    worker.step()
    assert online.failures == 0
    assert len(online.get(UserHistory, ["u"])[0].events) == 1
    # Every replica reads the changelog: a try is not appended to it.
    assert len(home.log.consumer(None, [ITEM_EMBEDDINGS]).poll(100, 0.0)) == 1


def test_a_worker_stopped_before_a_dead_store_leaves_its_work_to_the_next(home: Home) -> None:
    reached = threading.Event()

    class Down(MemoryOnline):
        def push(self, records: Any) -> None:
            # Beside what the event changes, the worker gives the store a mark.
            if any(isinstance(record, UserHistory) for record in records):
                reached.set()
            raise ConnectionError("no store here")

    first = home.worker(Down())
    first.start()
    home.send(event(1))
    assert reached.wait(30)
    first.stop()
    assert isinstance(first.failure, ConnectionError)
    online = MemoryOnline()
    home.worker(online).recover()
    assert len(online.get(UserHistory, ["u"])[0].events) == 1


def test_the_lists_are_pushed_in_pages_so_that_events_need_not_wait(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.outbox_relay.PAGE", 2)
    pages: list[int] = []
    now = 0.0
    online = MemoryOnline()
    worker = home.worker(
        online,
        statistics_seconds=1.0,
        on_statistics=lambda some: pages.append(len(some)),
        monotonic=lambda: now,
    )
    worker.recover()
    home.send(event(0, item="i0"))
    worker.step()
    assert pages == [1]
    pages.clear()
    # The lists rest between two rounds.
    home.send(*(event(number, item=f"i{number}") for number in range(1, 5)))
    worker.step()
    assert not pages
    # An event between two pages is applied at once, and lets no item wait for ever.
    for number in range(5, 9):
        now += 1.0
        home.send(event(number, item="i0"))
        worker.step()
        assert len(online.get(UserHistory, ["u"])[0].events) == number + 1
    assert all(pages[:2])
    assert max(pages) <= 3
    assert all(online.get(ItemStatistics, [f"i{number}" for number in range(5)]))
    assert not home.state.count_unpushed()


def test_an_encoder_that_fails_stops_nothing(tmp_path: Path) -> None:
    class Broken(HashEncoder):
        def encode_queries(self, *_: Any) -> np.ndarray:
            raise RuntimeError("no graph")

        def encode_candidates(self, items: Any, at: Any) -> np.ndarray:
            return np.full((len(items), 4), np.nan, np.float32)

    for name, encoder in {"broken": Broken(), "none": None}.items():
        folder = tmp_path / name
        folder.mkdir()
        home, online = Home(folder), MemoryOnline()
        worker = home.worker(online, FakeModel(encoder))
        home.send(item(1), event(1))
        worker.recover()
        worker.step()
        assert len(online.get(UserHistory, ["u"])[0].events) == 1
        assert online.get(UserEmbedding, ["u"]) == [None]
        assert online.get(ItemEmbedding, ["i1"]) == [None]
        (record,) = home.log.consumer(None, [ITEM_EMBEDDINGS]).poll(10, 0.0)
        change = decode_change(record)
        assert isinstance(change, ItemUpsert)
        assert change.item == item(1)
        assert change.embedding.shape == (0,)


def test_what_a_down_state_holds_up_is_told_apart(home: Home) -> None:
    """Each call to the state fails once; the metrics say how often which step was repeated."""
    state = home.state
    left = {"load", "commit", "unpushed", "forget_pushed"}

    class Down:
        def __getattr__(self, name: str) -> Any:
            def call(*arguments: Any) -> Any:
                if name in left:
                    left.remove(name)
                    raise StateError("the state is down")
                return getattr(state, name)(*arguments)

            return call

    home.state = Down()
    worker = home.worker(MemoryOnline())
    home.send(event(1))
    worker.recover()
    worker.step()
    (metric,) = worker.metrics.retries.collect()
    counts = {s.labels["stage"]: s.value for s in metric.samples if s.name.endswith("_total")}
    retried = ("load", "commit state", "unpushed", "forget pushed")
    assert counts == dict.fromkeys(RETRIED, 0) | dict.fromkeys(retried, 1)
    assert not state.count_unpushed()


def test_dead_letters_are_counted_by_the_topic_that_they_came_from(home: Home) -> None:
    worker = home.worker(MemoryOnline())
    worker.recover()

    def dead() -> dict[str, float | None]:
        name = "riverrun_stream_records_total"
        read = worker.metrics.registry.get_sample_value
        return {topic: read(name, {"topic": topic, "result": "dead"}) for topic in (EVENTS, ITEMS)}

    assert dead() == {EVENTS: 0, ITEMS: 0}
    home.send(event(1))
    worker.step()
    assert dead() == {EVENTS: 0, ITEMS: 0}
    home.log.append(ITEMS, [Message("i1", b"no record")] * 2)
    worker.step()
    assert dead() == {EVENTS: 0, ITEMS: 2}
