"""A worker that crashes anywhere, or is not alone, ends in the state of one undisturbed."""

import itertools
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import EVENTS, ITEM_EMBEDDINGS, ITEMS, USERS, Message
from streaming.additive import ADDITIVE
from streaming.dead_letters import dead_letters
from streaming.open_stream_state import open_stream_state
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.stream_state import OpenState, StateError
from streaming.worker import Worker
from tests.support.read_through import unwaiting
from tests.support.redis_server import database
from tests.support.stream import (
    NOW,
    SPACE,
    FakeModel,
    MemoryOnline,
    comparable,
    event,
    item,
    user,
)

MAX_HISTORY = 5

Append = tuple[str, Message]


class Crash(BaseException):
    """The process dies here."""


class Fuse:
    """Counts the calls to the outside, and fails before or after the one it is set to."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.failure: type[BaseException] = Crash

    def tick(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise self.failure


class Fused:
    """Passes every call on, with a tick of the fuse before and after the writing ones."""

    def __init__(self, target: Any, fuse: Fuse, writes: set[str]) -> None:
        self._target, self._fuse, self._writes = target, fuse, writes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if name not in self._writes:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse.tick()
            result = method(*args, **kwargs)
            self._fuse.tick()
            return result

        return call


class FusedLog(Fused):
    def consumer(self, *arguments: Any) -> Any:
        return Fused(self._target.consumer(*arguments), self._fuse, {"commit"})


class Shop:
    """A log, an online store and a state that outlive the workers on them."""

    def __init__(self, folder: Path, appends: list[Append], state_url: str) -> None:
        self.state_url = state_url
        self.log = SqliteLog(folder / "log.sqlite", lambda: NOW.timestamp())
        self.online = MemoryOnline()
        self.appends = len(appends)
        self.fuse = Fuse()
        for topic, message in appends:
            self.log.append(topic, [message])
        with closing(open_stream_state(state_url)) as state:
            state.reset()

    def worker(self, batch: int, fuse: Any, state: OpenState) -> Worker:
        return Worker(
            FusedLog(unwaiting(self.log), fuse, {"append"}),  # type: ignore[arg-type]
            Fused(self.online, fuse, {"push", "delete"}),  # type: ignore[arg-type]
            Fused(state, fuse, {"load", "commit", "unpushed", "forget_pushed"}),  # type: ignore[arg-type]
            FakeModel(space=SPACE),
            settings=StreamingSettings(
                batch_records=batch,
                linger_seconds=0,
                statistics_seconds=0,
                retry_seconds=0.001,
                co_visitation=CoVisitationSettings(),
                fold_in=FoldInSettings(),
            ),
            max_history=MAX_HISTORY,
            clock=lambda: NOW,
        )

    def work(self, batch: int, crash_after: int | None) -> bool:
        """Run a new worker to the end of the log; return whether it crashed before."""
        with closing(open_stream_state(self.state_url)) as state:
            self.fuse.left = crash_after
            worker = self.worker(batch, self.fuse, state)
            try:
                worker.recover()
                while worker.step():
                    pass
            except Crash:
                return True
            finally:
                worker.stop()
        return False

    def work_by_two(self, batches: tuple[int, int], switches: list[int]) -> None:
        """Run two workers that both own everything: one in the middle of the other's steps."""
        with (
            closing(open_stream_state(self.state_url)) as one,
            closing(open_stream_state(self.state_url)) as other,
        ):
            intruder = self.worker(batches[1], Fuse(), other)
            owner = self.worker(batches[0], Switches(switches, intruder.step), one)
            intruder.recover()
            owner.recover()
            while owner.step() + intruder.step():
                pass
            owner.step()
            for worker in (owner, intruder):
                worker.stop()

    def state(self) -> Any:
        with closing(open_stream_state(self.state_url)) as state:
            changelog: dict[str | None, bytes | None] = {}
            for record in self.log.consumer(None, [ITEM_EMBEDDINGS]).poll(10_000, 0.0):
                changelog[record.key] = record.value
            part = state.load(0, (), [f"i{number}" for number in range(3)])
            return {
                "online": self.online.state(),
                "histories": {h.user_id: h for some in state.all_histories() for h in some},
                "statistics": {
                    each.item_id: comparable(each)
                    for some in state.all_statistics()
                    for each in some
                },
                # Statistics, co-visitation and fold-in, to the last bit.
                "additive": [
                    (kind.name, key, kind.encode(each))
                    for kind in ADDITIVE
                    for key, each in sorted(kind.of(part).items())
                ],
                "unpushed": state.count_unpushed(),
                "changelog": changelog,
                "dead": {letter.record for letter in dead_letters(self.log)},
            }


class Switches:
    """Lets another worker take a step at the given calls to the outside."""

    def __init__(self, calls: list[int], step: Callable[[], object]) -> None:
        self._calls, self._step = set(calls), step
        self._count = 0

    def tick(self) -> None:
        self._count += 1
        if self._count in self._calls:
            self._step()


SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=SCHEMES)
def new_shop(
    request: pytest.FixtureRequest,
) -> Callable[[Path, list[Append]], Shop]:
    """Makes a shop in a folder; on Redis, one after the other in a database of its own."""
    databases = itertools.cycle(range(1, 9))

    def make(folder: Path, records: list[Append]) -> Shop:
        if request.param == "sqlite":
            return Shop(folder, records, f"sqlite://{folder / 'state.sqlite'}")
        url = database(request.getfixturevalue("redis_url"), next(databases))
        return Shop(folder, records, url)

    return make


def _event(number: int, of_user: int, of_item: int, minutes: int) -> Append:
    # The number decides the event, so that a number drawn twice is a duplicate.
    made = event(number, f"u{of_user}", f"i{of_item}", minutes)
    return EVENTS, Message(made.user_id, made.model_dump_json().encode())


def _item(number: int, title: str | None) -> Append:
    value = None if title is None else item(number, title).model_dump_json().encode()
    return ITEMS, Message(f"i{number}", value)


def _user(number: int, age: int | None) -> Append:
    value = None if age is None else user(number, age).model_dump_json().encode()
    return USERS, Message(f"u{number}", value)


def _bad(value: bytes) -> Append:
    return EVENTS, Message("u0", value)


appends = st.lists(
    st.one_of(
        st.builds(_event, st.integers(0, 40), st.integers(0, 2), st.integers(0, 2),
                  st.integers(0, 1_000)),
        st.builds(_event, st.integers(0, 40), st.just(0), st.just(0), st.just(7)),
        st.builds(_item, st.integers(0, 2), st.sampled_from(["kettle", "lamp", None])),
        st.builds(_user, st.integers(0, 2), st.sampled_from([1, 2, None])),
        st.builds(_bad, st.sampled_from([b"\xff", b"{}", b"[1]"])),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


def _in_folder(check: Callable[[Path, Path], None]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        check(Path(one), Path(other))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=appends,
    crashes=st.lists(st.integers(0, 60), max_size=6),
    batches=st.lists(st.integers(1, 8), min_size=7),
)
def test_crashes_change_nothing(
    new_shop: Callable[[Path, list[Append]], Shop],
    records: list[Append],
    crashes: list[int],
    batches: list[int],
) -> None:
    def check(one: Path, other: Path) -> None:
        undisturbed = new_shop(one, records)
        assert not undisturbed.work(batches[0], None)
        disturbed = new_shop(other, records)
        for crash, batch in zip(crashes, batches[1:], strict=False):
            disturbed.work(batch, crash)
        assert not disturbed.work(batches[-1], None)
        assert disturbed.state() == undisturbed.state()
        assert undisturbed.state()["unpushed"] == 0
        undisturbed.log.close()
        disturbed.log.close()

    _in_folder(check)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=appends,
    batches=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    switches=st.lists(st.integers(1, 80), max_size=12),
)
def test_two_workers_on_one_partition_change_nothing(
    new_shop: Callable[[Path, list[Append]], Shop],
    records: list[Append],
    batches: tuple[int, int],
    switches: list[int],
) -> None:
    def check(one: Path, other: Path) -> None:
        undisturbed = new_shop(one, records)
        assert not undisturbed.work(3, None)
        disturbed = new_shop(other, records)
        disturbed.work_by_two(batches, switches)
        assert disturbed.state() == undisturbed.state()
        undisturbed.log.close()
        disturbed.log.close()

    _in_folder(check)


SOME_OF_EACH = [
    _event(1, 0, 0, 10), _item(0, "kettle"), _event(2, 0, 1, 5), _event(1, 0, 0, 10),
    _bad(b"\xff"), _user(1, 3), _event(3, 1, 0, 1), _user(0, None), _event(4, 0, 2, 20),
    _item(0, None),
]  # fmt: skip


def test_every_single_crash_point(
    tmp_path: Path, new_shop: Callable[[Path, list[Append]], Shop]
) -> None:
    records = SOME_OF_EACH
    (tmp_path / "undisturbed").mkdir()
    undisturbed = new_shop(tmp_path / "undisturbed", records)
    assert not undisturbed.work(3, None)
    expected = undisturbed.state()
    undisturbed.log.close()
    point = 0
    while True:
        folder = tmp_path / str(point)
        folder.mkdir()
        shop = new_shop(folder, records)
        crashed = shop.work(3, point)
        assert not shop.work(3, None)
        assert shop.state() == expected, f"crash point {point}"
        shop.log.close()
        if not crashed:
            break
        point += 1
    assert point > 20
    kinds = {kind for kind, *_ in expected["additive"]}
    assert kinds == {"statistics", "co_visitation", "fold_in"}


def test_every_single_call_that_fails_or_whose_answer_is_lost(
    tmp_path: Path, new_shop: Callable[[Path, list[Append]], Shop]
) -> None:
    """It is tried again, though it may have been done. No later batch makes up for it."""
    (tmp_path / "undisturbed").mkdir()
    undisturbed = new_shop(tmp_path / "undisturbed", SOME_OF_EACH)
    assert not undisturbed.work(3, None)
    expected = undisturbed.state()
    undisturbed.log.close()
    for call in itertools.count():
        folder = tmp_path / str(call)
        folder.mkdir()
        shop = new_shop(folder, SOME_OF_EACH)
        shop.fuse.failure = StateError
        assert not shop.work(len(SOME_OF_EACH), call)
        assert shop.state() == expected, f"call {call // 2}, {'after' if call % 2 else 'before'}"
        shop.log.close()
        if shop.fuse.left is not None:
            break
    assert call > 10


def test_every_single_switch_between_two_workers(
    tmp_path: Path, new_shop: Callable[[Path, list[Append]], Shop]
) -> None:
    # A new item whose embedding is moved by an event of its own batch.
    records = [_event(0, 0, 0, 0), _event(1, 0, 1, 1), _item(1, "kettle")]
    (tmp_path / "undisturbed").mkdir()
    undisturbed = new_shop(tmp_path / "undisturbed", records)
    assert not undisturbed.work(3, None)
    expected = undisturbed.state()
    undisturbed.log.close()
    for call in range(1, 30):
        folder = tmp_path / str(call)
        folder.mkdir()
        shop = new_shop(folder, records)
        shop.work_by_two((3, 1), [call])
        assert shop.state() == expected, f"switch at call {call}"
        shop.log.close()


def test_the_state_is_that_of_the_events_as_a_set(tmp_path: Path) -> None:
    records = [_event(n % 7, 0, 0, 60 * (n % 7)) for n in (3, 1, 3, 0, 6, 1, 5, 3)]
    shop = Shop(tmp_path, records, f"sqlite://{tmp_path / 'state.sqlite'}")
    shop.work(2, None)
    state = shop.state()
    shop.log.close()
    assert [e.event_id for e in state["histories"]["u0"].events] == ["e0", "e1", "e3", "e5", "e6"]
    (statistics,) = state["statistics"].values()
    assert statistics.week[0] < 5  # each once, the older ones decayed
    assert statistics.week[0] > 4.8
