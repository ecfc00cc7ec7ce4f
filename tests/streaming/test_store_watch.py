"""An online store that was emptied, or put back from a copy, is filled again, by itself.

The state beside it is whole.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import EVENTS, ITEMS, USERS, Message
from streaming.open_stream_state import open_stream_state
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.store_watch import RAISE_SECONDS, StoreWatch
from streaming.stream_state import AGAIN, OpenState
from streaming.updates import Updates
from streaming.worker import Worker
from tests.support.stream import NOW, SPACE, FakeModel, MemoryOnline, event, item, user

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]
ITEMS_AND_USERS = 7
EVENTS_SENT = 120
WRITES = ("push", "list_all_again", "commit")

OpenAgain = Callable[[], OpenState]


@pytest.fixture(params=SCHEMES)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenAgain]:
    """Opens one state, as one process after another does. It is empty at first."""
    url = f"sqlite://{tmp_path / 'state.sqlite'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
    with ExitStack() as stack:

        def open_it() -> OpenState:
            state = open_stream_state(url)
            stack.callback(state.close)
            return state

        open_it().reset()
        yield open_it


class Shop:
    """A log with all kinds of records, the state that they make, and a store that was told."""

    def __init__(self, folder: Path, open_again: OpenAgain) -> None:
        self.open_again = open_again
        self.state = open_again()
        self.online = MemoryOnline()
        self.log = SqliteLog(folder / "log.sqlite")
        self.now = 0.0
        for number in range(ITEMS_AND_USERS):
            someone, thing = user(number), item(number, f"title {number}")
            self.append(USERS, someone.user_id, someone.model_dump_json())
            self.append(ITEMS, thing.item_id, thing.model_dump_json())
        self.act(0, EVENTS_SENT)
        self.append(USERS, "u1", None)
        self.append(ITEMS, "i1", None)
        worker = self.worker()
        worker.recover()
        self.finish(worker)
        self.told = self.online.state()
        assert {view for view, _ in self.told} == {
            "UserHistory", "UserEmbedding", "User", "Item", "ItemEmbedding", "ItemStatistics",
            "CoVisitation",
        }  # fmt: skip

    def append(self, topic: str, key: str, value: str | None) -> None:
        self.log.append(topic, [Message(key, None if value is None else value.encode())])

    def act(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            made = event(number, f"u{number % 7}", f"i{number % 5}", number)
            self.append(EVENTS, made.user_id, made.model_dump_json())

    def worker(self) -> Worker:
        return Worker(
            self.log,
            self.online,
            self.state,
            FakeModel(space=SPACE),
            settings=StreamingSettings(
                batch_records=30,
                linger_seconds=0,
                statistics_seconds=0,
                retry_seconds=0.001,
                co_visitation=CoVisitationSettings(),
                fold_in=FoldInSettings(),
            ),
            clock=lambda: NOW,
            monotonic=lambda: self.now,
        )

    def grow_old(self, times: int = 3) -> None:
        """Raise the age of the store, as a worker does that is at work for long enough."""
        watch = StoreWatch(self.state, self.online, clock=lambda: self.now)
        for _ in range(times):
            watch.look()
            self.now += RAISE_SECONDS
            watch.look()

    def due(self, state: Any, online: Any) -> StoreWatch:
        """Return a watch that raises the age when it looks."""
        StoreWatch(self.state, self.online).look()
        watch = StoreWatch(state, online, clock=lambda: self.now)
        watch.look()
        self.now += RAISE_SECONDS
        return watch

    def is_whole(self) -> bool:
        """Whether the store passes for one that lacks nothing."""
        StoreWatch(self.state, self.online).look()
        return self.state.count_unpushed() == 0

    def finish(self, worker: Worker) -> None:
        """Carry on until nothing is left to read or to push."""
        for _ in range(100):
            if not worker.step() and not self.state.count_unpushed():
                return
            self.now += 0.5
        raise AssertionError("something stays on a list")


@pytest.fixture
def shop(tmp_path: Path, open_again: OpenAgain) -> Iterator[Shop]:
    made = Shop(tmp_path, open_again)
    yield made
    made.log.close()


def test_a_worker_that_starts_beside_an_emptied_store_fills_it(shop: Shop) -> None:
    shop.online.records.clear()
    worker = shop.worker()
    with capture_logs() as logs:
        worker.recover()
        # What was lost is pushed page by page, while the stream is followed.
        assert worker.ready
        assert shop.state.unpushed(AGAIN)
        shop.finish(worker)
    assert shop.online.state() == shop.told
    [said] = [each for each in logs if each["event"] == "online_store_was_emptied"]
    assert said["told_again"] > 0
    worker.stop()


def test_a_worker_that_is_at_work_fills_it_too(shop: Shop) -> None:
    worker = shop.worker()
    worker.recover()
    worker.step()
    shop.online.records.clear()
    # Who acts in between is known again at once, which must not pass for all that was told.
    shop.act(126, 1)
    worker.step()
    shop.now += 1.0
    shop.finish(worker)
    filled = shop.online.state()
    assert filled.keys() == shop.told.keys()
    shop.online.records.clear()
    shop.now += 1.0
    worker.step()
    shop.finish(worker)
    assert shop.online.state() == filled
    worker.stop()


def test_a_store_that_lacks_nothing_is_told_nothing(shop: Shop) -> None:
    with capture_logs() as logs:
        StoreWatch(shop.state, shop.online).look()
    assert shop.state.count_unpushed() == 0
    assert logs == []


def test_a_store_that_no_worker_has_marked_yet_was_not_emptied(shop: Shop) -> None:
    """An earlier version has made state and store, or the state has another store from now on."""
    state = shop.state
    state.reset()
    state.commit(0, state.load(0, (), ()).version, Updates(items={"i2": item(2, "title 2")}), {})
    shop.online.records.clear()
    with capture_logs() as logs:
        StoreWatch(state, shop.online).look()
        shop.online.records.clear()
        StoreWatch(state, shop.online).look()
    assert [(each["event"], each["log_level"]) for each in logs] == [
        ("online_store_is_told_everything", "info"),
        ("online_store_was_emptied", "warning"),
    ]


def test_a_store_that_another_worker_has_begun_to_fill_is_filled_by_all(shop: Shop) -> None:
    other = shop.worker()
    other.recover()
    shop.online.records.clear()
    StoreWatch(shop.open_again(), shop.online).look()  # Of a worker that dies here.
    shop.now += 1.0
    shop.finish(other)
    assert shop.online.state() == shop.told
    other.stop()


def test_a_store_that_is_down_holds_nobody_up(shop: Shop) -> None:
    class Down(MemoryOnline):
        def get(self, view: type, keys: Any) -> list[Any]:
            raise OSError("refused")

    now = 0.0
    watch = StoreWatch(shop.state, Down(), 5.0, lambda: now)
    with capture_logs() as logs:
        assert not watch.step()
        now = 4.9
        assert not watch.step()
    assert [each["event"] for each in logs] == ["store_not_looked_at"]
    assert shop.state.count_unpushed() == 0


class Crash(BaseException):
    """The process dies here."""


class Fused:
    """Passes calls on; dies before or after the one of the writing calls that it is set to."""

    def __init__(self, target: Any, left: list[int]) -> None:
        self._target, self._left = target, left

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self._tick(name)
            result = getattr(self._target, name)(*arguments, **named)
            self._tick(name)
            return result

        return call

    def _tick(self, name: str) -> None:
        if name in WRITES:
            self._left[0] -= 1
            if self._left[0] < 0:
                raise Crash


@pytest.mark.parametrize("ticks", range(9))
def test_a_crash_anywhere_leads_to_all_of_it_again(shop: Shop, ticks: int) -> None:
    shop.online.records.clear()
    left = [ticks]
    watch = StoreWatch(Fused(shop.state, left), Fused(shop.online, left))  # type: ignore[arg-type]
    if ticks < 8:
        with pytest.raises(Crash):
            watch.look()
    else:
        watch.look()
    worker = shop.worker()
    worker.recover()
    shop.finish(worker)
    assert shop.online.state() == shop.told
    worker.stop()


@pytest.mark.parametrize("is_at_work", [False, True])
def test_a_store_that_was_put_back_from_a_copy_is_told_everything(
    shop: Shop, is_at_work: bool
) -> None:
    copy = dict(shop.online.records)
    worker = shop.worker()
    worker.recover()
    shop.act(EVENTS_SENT, 30)
    shop.append(USERS, "u2", None)
    shop.append(ITEMS, "i2", None)
    shop.finish(worker)
    told = shop.online.state()
    assert told != shop.told
    shop.grow_old()
    if not is_at_work:
        worker.stop()
        worker = shop.worker()
    shop.online.records = copy
    with capture_logs() as logs:
        if is_at_work:
            shop.now += 1.0
        else:
            worker.recover()
        shop.finish(worker)
    assert shop.online.state() == told
    assert [each["event"] for each in logs] == ["online_store_was_put_back"]
    worker.stop()


def test_a_store_that_was_not_put_back_is_told_nothing_however_old_it_grows(shop: Shop) -> None:
    with capture_logs() as logs:
        for _ in range(5):
            shop.grow_old(2)
            assert shop.is_whole()
    assert logs == []


@pytest.mark.parametrize("ticks", range(4))
def test_who_dies_while_the_age_is_raised_leaves_it_as_good_as_raised(
    shop: Shop, ticks: int
) -> None:
    copy, deaths = dict(shop.online.records), 0
    for _ in range(4):
        left = [100]
        watch = shop.due(Fused(shop.state, left), Fused(shop.online, left))
        left[0] = ticks
        # Who finds it half raised has less to do, and gets through.
        try:
            watch.look()
        except Crash:
            deaths += 1
        assert shop.is_whole()
    assert deaths
    shop.grow_old()
    shop.online.records = copy
    assert not shop.is_whole()


@pytest.mark.parametrize("records", [lambda shop: dict(shop.online.records), lambda shop: {}])
def test_a_store_that_is_put_back_while_its_age_is_raised_is_noticed(
    shop: Shop, records: Callable[[Shop], dict[Any, Any]]
) -> None:
    copy = records(shop)
    shop.grow_old()

    class PutBack(Fused):
        def _tick(self, name: str) -> None:
            if name == "push" and copy is not shop.online.records:
                shop.online.records = copy

    shop.due(shop.state, PutBack(shop.online, [])).look()
    assert shop.online.records is copy
    assert not shop.is_whole()


@pytest.mark.parametrize("ticks", range(4))
def test_workers_that_raise_the_age_at_once_pass_for_none_that_lost_anything(
    shop: Shop, ticks: int
) -> None:
    class Beside(Fused):
        def _tick(self, name: str) -> None:
            try:
                super()._tick(name)
            except Crash:
                self._left[0] = 100
                other.look()

    for _ in range(4):
        left = [100]
        other = shop.due(shop.open_again(), shop.online)
        watch = shop.due(Beside(shop.state, left), Beside(shop.online, left))
        left[0] = ticks
        watch.look()
        assert left[0] > 90, "the other one has looked"
        assert shop.is_whole()
        shop.now += RAISE_SECONDS
