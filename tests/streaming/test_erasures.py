"""An erasure reaches what came before it, in whatever order the topics are read."""

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS, LostPositionError, Message
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import UserEmbedding
from feature_repo.schema import User
from streaming.archiver import Archiver
from streaming.decode import UserErased
from streaming.open_stream_state import open_stream_state
from streaming.processor import Appended, process
from streaming.rebuild import rebuild, require_log
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stored_values import decode_history, encode_history
from streaming.stream_state import OpenState, Slice
from streaming.worker import Worker
from tests.support.interleaved_log import InterleavedLog
from tests.support.read_through import unwaiting
from tests.support.redis_server import database
from tests.support.stream import NOW, FakeModel, MemoryOnline, event, item, user

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]
PEOPLE = ("u0", "u1")
MAX_HISTORY = 100

Append = tuple[str, Message]


def _event(number: int) -> Append:
    # The number decides all of it, so that a number drawn twice is a repetition.
    made = event(number, PEOPLE[number % 2], f"i{number % 3}", number)
    return EVENTS, Message(made.user_id, made.model_dump_json().encode())


def _profile(number: int, age: int) -> Append:
    made = user(number, age)
    return USERS, Message(made.user_id, made.model_dump_json().encode())


def _erasure(number: int) -> Append:
    return USERS, Message(PEOPLE[number], None)


appends = st.lists(
    st.one_of(
        st.builds(_event, st.integers(0, 12)),
        st.builds(_profile, st.integers(0, 1), st.integers(1, 3)),
        st.builds(_erasure, st.integers(0, 1)),
    ),
    max_size=20,
)
turns = st.lists(st.sampled_from([EVENTS, USERS]), min_size=1, max_size=12)
batches = st.integers(1, 8)


def expected(records: Sequence[Append]) -> dict[str, tuple[set[str], User | None]]:
    """Return each person's events and profile after their last erasure, read off the appends."""
    left: dict[str, tuple[set[str], User | None]] = {}
    for person in PEOPLE:
        own = [(topic, message) for topic, message in records if message.key == person]
        erased = [at for at, (_, message) in enumerate(own) if message.value is None]
        kept = [(topic, m.value or b"") for topic, m in own[max(erased, default=-1) + 1 :]]
        events = {f"e{_number(value)}" for topic, value in kept if topic == EVENTS}
        profiles = [User.model_validate_json(value) for topic, value in kept if topic == USERS]
        left[person] = events, profiles[-1] if profiles else None
    return left


def _number(value: bytes) -> int:
    return next(n for n in range(13) if _event(n)[1].value == value)


class Shop:
    """A log, an archive, an online store, and states one after the other."""

    def __init__(self, folder: Path, records: Sequence[Append]) -> None:
        self.log = SqliteLog(folder / "log.sqlite")
        self.archive = Archive(folder / "archive")
        self.online = MemoryOnline()
        self.append(records)

    def append(self, records: Sequence[Append]) -> None:
        """Append the records one after another."""
        for topic, message in records:
            self.log.append(topic, [message])

    def work(self, state: OpenState, turns: Sequence[str], batch: int, steps: int | None) -> None:
        """Let a new worker take so many steps, None: all there are."""
        worker = Worker(
            InterleavedLog(self.log, itertools.cycle(turns)), self.online, state, FakeModel(),
            settings=StreamingSettings(batch_records=batch, linger_seconds=0, statistics_seconds=0),
            max_history=MAX_HISTORY, clock=lambda: NOW,
        )  # fmt: skip
        worker.recover()
        _step(worker, steps)
        worker.stop()

    def archive_some(
        self, turns: Sequence[str], batch: int, steps: int | None, archive: Archive | None = None
    ) -> None:
        """Let a new archiver take so many steps, None: all there are."""
        log = unwaiting(InterleavedLog(self.log, itertools.cycle(turns)), most=batch)
        settings = StreamingSettings(archive_rows=3)
        archiver = Archiver(log, archive or self.archive, settings=settings)
        _step(archiver, steps)
        archiver.flush()
        archiver.stop()

    def left(self, state: OpenState) -> dict[str, Any]:
        """Return of each person what the state and the online store hold, which must agree."""
        histories = {each.user_id: each for some in state.all_histories() for each in some}
        left = {}
        for person in PEOPLE:
            history = histories.get(person)
            assert self.online.get(UserHistory, [person]) == [history]
            (embedding,) = self.online.get(UserEmbedding, [person])
            # A rebuild leaves embeddings to the first request.
            assert embedding is None or history is not None
            (profile,) = self.online.get(User, [person])
            left[person] = {e.event_id for e in history.events} if history else set(), profile
        return left

    def archived(self) -> dict[str, Any]:
        """Return of each person what the archive holds."""
        events = self.archive.events.scan().collect()
        users = {each.user_id: each for each in self.archive.users()}
        return {
            person: (set(events.filter(user_id=person)["event_id"]), users.get(person))
            for person in PEOPLE
        }


class Died(BaseException):
    """What nothing tries again."""


def dying(root: Path, writes: int) -> Archive:
    """Return the archive in a folder, as its writer sees it who dies after so many writes."""
    archive = Archive(root)
    left = itertools.count(writes - 1, -1)

    def write(method: Callable[..., Any], *arguments: Any) -> None:
        method(*arguments)
        if next(left) == 0:
            raise Died

    for part, name in (
        (archive, "erase_users"), (archive, "write_items"), (archive, "write_users"),
        (archive.events, "write"), (archive.marks, "write"), (archive.positions, "write"),
    ):  # fmt: skip
        setattr(part, name, partial(write, getattr(part, name)))
    return archive


def _step(part: Worker | Archiver, steps: int | None) -> None:
    taken = 0
    while (steps is None or taken < steps) and part.step():
        taken += 1


@pytest.fixture(params=SCHEMES)
def state_url(request: pytest.FixtureRequest) -> Callable[[Path, int], str]:
    """Gives the URL of a state, by number, in a folder or in the one Redis."""

    def url(folder: Path, number: int) -> str:
        if request.param == "sqlite":
            return f"sqlite://{folder / f'{number}.sqlite'}"
        return database(request.getfixturevalue("redis_url"), number)

    return url


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=appends,
    reading=st.tuples(turns, batches),
    archiving=st.tuples(turns, batches),
    restarts=st.lists(st.integers(1, 6), max_size=3),
    deaths=st.lists(st.integers(1, 12), max_size=3),
    lost_after=st.integers(0, 6),
    online_is_lost=st.booleans(),
)
def test_any_interleaving_of_the_topics_ends_in_the_same_state(
    state_url: Callable[[Path, int], str],
    records: list[Append],
    reading: tuple[list[str], int],
    archiving: tuple[list[str], int],
    restarts: list[int],
    deaths: list[int],
    lost_after: int,
    online_is_lost: bool,
) -> None:
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        shop = Shop(folder, records)
        stack.callback(shop.log.close)
        one, other = (
            stack.enter_context(closing(open_stream_state(state_url(folder, number))))
            for number in (1, 2)
        )
        for state in (one, other):
            state.reset()
        for steps in (*restarts, None):
            shop.work(one, *reading, steps)
        assert shop.left(one) == expected(records)
        for writes in deaths:
            with suppress(Died):
                shop.archive_some(*archiving, None, dying(shop.archive.root, writes))
        # A state that is lost while the archive is anywhere, and goes on from there.
        shop.archive_some(*archiving, lost_after)
        if online_is_lost:
            shop.online = MemoryOnline()
        rebuild(shop.archive, other, shop.online, shop.log, max_history=MAX_HISTORY)
        shop.work(other, *reading, None)
        assert shop.left(other) == expected(records)
        shop.archive_some(*archiving, None)
        assert shop.archived() == expected(records)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    archived=appends,
    unnoticed=appends,
    later=appends,
    reading=st.tuples(turns, batches),
    archiving=st.tuples(turns, batches),
    is_interrupted=st.booleans(),
)
def test_erasures_hold_after_the_log_was_removed(
    state_url: Callable[[Path, int], str],
    archived: list[Append],
    unnoticed: list[Append],
    later: list[Append],
    reading: tuple[list[str], int],
    archiving: tuple[list[str], int],
    is_interrupted: bool,
) -> None:
    """The new log's moments come after those that the archive knows from the old one.

    unnoticed: what servers append to the new log before the rebuild.
    """
    with TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        shop = Shop(folder, archived)
        one, other = (
            stack.enter_context(closing(open_stream_state(state_url(folder, number))))
            for number in (1, 2)
        )
        for state in (one, other):
            state.reset()
        shop.work(one, *reading, None)
        shop.archive_some(*archiving, None)
        shop.log.close()
        for file in folder.glob("log.sqlite*"):
            file.unlink()

        shop.log = SqliteLog(folder / "log.sqlite")
        stack.callback(shop.log.close)
        shop.append(unnoticed)
        for _ in range(1 + is_interrupted):
            rebuild(shop.archive, other, shop.online, shop.log, max_history=MAX_HISTORY)
        require_log(other, shop.log)
        shop.append(later)
        shop.work(other, *reading, None)
        everything = expected([*archived, *unnoticed, *later])
        assert shop.left(other) == everything
        shop.archive_some(*archiving, None)
        assert shop.archived() == everything


def test_a_log_that_is_removed_twice_is_noticed_twice(tmp_path: Path) -> None:
    shop = Shop(tmp_path, [_event(n) for n in range(5)])
    with closing(SqliteState(tmp_path / "state.sqlite")) as state:
        shop.work(state, [EVENTS, USERS], 8, None)
        shop.archive_some([EVENTS, USERS], 8, None)
        for _ in range(2):
            shop.log.close()
            for file in tmp_path.glob("log.sqlite*"):
                file.unlink()
            shop.log = SqliteLog(tmp_path / "log.sqlite")
            with pytest.raises(LostPositionError, match="`riverrun rebuild`"):
                require_log(state, shop.log)
            # Nothing is appended in between.
            rebuild(shop.archive, state, shop.online, shop.log, max_history=MAX_HISTORY)
            require_log(state, shop.log)
    shop.log.close()


def test_a_new_log_replaces_no_segment_of_the_one_that_was_removed(tmp_path: Path) -> None:
    """Nor one whose writer crashed before it wrote down how far it was."""
    shop = Shop(tmp_path, [_event(0), _event(1)])
    shop.archive_some([EVENTS], 8, None)
    shop.append([(ITEMS, Message("i0", item(0).model_dump_json().encode()))])
    with pytest.raises(Died):
        shop.archive_some([ITEMS], 8, None, dying(shop.archive.root, 1))
    shop.log.close()
    for file in tmp_path.glob("log.sqlite*"):
        file.unlink()
    shop.log = SqliteLog(tmp_path / "log.sqlite")
    with closing(SqliteState(tmp_path / "state.sqlite")) as state:
        rebuild(shop.archive, state, shop.online, shop.log, max_history=MAX_HISTORY)
    # The rebuild itself has told the changelog of one item.
    shop.append([_event(2)])
    shop.archive_some([EVENTS], 8, None)
    shop.append([(ITEMS, Message("i1", item(1).model_dump_json().encode()))])
    shop.archive_some([ITEMS], 8, None)
    assert [each.item_id for each in shop.archive.items()] == ["i0", "i1"]
    shop.log.close()


def test_an_event_of_the_erasures_own_moment_came_before_it() -> None:
    before = Slice(1, {}, erasures={"u": 7})
    made = [Appended(event(number, "u"), moment) for number, moment in ((1, 6), (2, 7), (3, 8))]
    folded = process(made, before, MAX_HISTORY)
    assert [each.event_id for each in folded.updates.histories["u"].events] == ["e3"]
    assert (folded.erased, len(folded.acts)) == (2, 1)


def test_an_older_erasure_that_is_read_again_changes_nothing() -> None:
    history = UserHistory("u", (HistoryEvent.of(event(1, "u")),))
    before = Slice(1, {}, {"u": history}, {"u": (9,)}, {"u": 7})
    updates = process([Appended(UserErased("u"), 3)], before, MAX_HISTORY).updates
    assert updates.histories == {"u": history}
    assert updates.erasures == {"u": 7}


def test_of_a_full_history_the_oldest_moment_goes_too() -> None:
    changes = [Appended(event(n, "u", minutes=n % 4), 10 + n) for n in range(9)]
    updates = process(changes, Slice(1, {}), 3).updates
    history, moments = updates.histories["u"], updates.moments["u"]
    assert len(history.events) == len(moments) == 3
    assert [f"e{moment - 10}" for moment in moments] == [e.event_id for e in history.events]


@pytest.mark.parametrize("minutes", range(11))
def test_a_late_event_among_those_that_a_shorter_history_drops_is_ignored(minutes: int) -> None:
    """`history_length` was lowered from 10 to 4 while the state holds an event a minute."""
    known = [Appended(event(n, "u", minutes=n), 10 + n) for n in range(10)]
    updates = process(known, Slice(1, {}), 10).updates
    before = Slice(2, {}, updates.histories, updates.moments)
    late = event(99, "u", minutes=minutes - 0.5)
    folded = process([Appended(late, 99)], before, 4)
    if minutes <= 6:
        assert (folded.repeated, folded.updates.histories) == (1, {})
    else:
        history, moments = folded.updates.histories["u"], folded.updates.moments["u"]
        appended = {**{f"e{n}": 10 + n for n in range(10)}, "e99": 99}
        assert len(history.events) == 4
        assert moments == tuple(appended[each.event_id] for each in history.events)


def test_a_history_that_was_stored_without_moments_is_reached_by_any_erasure() -> None:
    history = UserHistory("u", tuple(HistoryEvent.of(event(n, "u")) for n in range(2)))
    *columns, _ = orjson.loads(encode_history(history, (8, 9)))
    assert decode_history("u", orjson.dumps(columns)) == (history, (0, 0))


def test_marks_are_outdated_by_newer_events_alone() -> None:
    changes = [Appended(event(1, "u"), 50), Appended(user(1), 90), Appended(event(2, "u"), 40)]
    assert process(changes, Slice(1, {}), MAX_HISTORY, keep_marks=20).updates.outdated == 30
    # A producer's clock may be ahead, or count in microseconds.
    folded = process(changes, Slice(1, {}), MAX_HISTORY, keep_marks=20, now=49)
    assert folded.updates.outdated == 20
    assert len(folded.acts) == 2
