"""What every `OpenState` does. A new implementation adds its URL to `open_state`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.item_statistics import HOUR, count, nothing
from feature_repo.online_features import ItemStatistics
from feature_repo.schema import Item, User
from streaming.open_stream_state import open_stream_state
from streaming.processor import Updates
from streaming.stream_state import (
    HISTORY,
    IMPORTED,
    ITEM,
    USER,
    Key,
    OpenState,
    StateConflict,
    StateError,
    Unpushed,
    whole_values,
)
from tests.support.records import HISTORIES, IDENTIFIERS, ITEMS, USERS, comparable
from tests.support.redis_server import redis_server

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(scope="module", params=SCHEMES)
def open_state(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[], OpenState]]:
    """Opens the one state of a scheme, as one process after another would."""
    opened: list[OpenState] = []
    if request.param == "sqlite":
        url = f"sqlite://{tmp_path_factory.mktemp('state') / 'state.sqlite'}"
    else:
        url = request.getfixturevalue("redis_url")

    def open_it() -> OpenState:
        opened.append(open_stream_state(url))
        return opened[-1]

    yield open_it
    for state in opened:
        state.close()


@pytest.fixture(scope="module")
def shared(open_state: Callable[[], OpenState]) -> OpenState:
    return open_state()


@pytest.fixture
def state(shared: OpenState) -> OpenState:
    """An empty state."""
    shared.reset()
    return shared


def commit(
    state: OpenState, partition: int, updates: Updates, positions: dict[str, int] | None = None
) -> str:
    version = state.load(partition, (), ()).version
    return state.commit(partition, version, updates, positions or {})


def history(user_id: str, *timestamps: int) -> UserHistory:
    return UserHistory(
        user_id, tuple(HistoryEvent(time, f"e{time}", "i", "view", 0.5) for time in timestamps)
    )


def statistics(item_id: str, *timestamps: int) -> ItemStatistics:
    made = nothing(item_id)
    for time in timestamps:
        made = count(made, "view", time)
    return made


def contents(state: OpenState) -> Any:
    partitions = state.partitions()
    return (
        sorted((each for some in state.all_histories() for each in some), key=lambda h: h.user_id),
        sorted((each for some in state.all_statistics() for each in some), key=lambda s: s.item_id),
        state.folded_segments(),
        {p: state.unpushed(p) for p in partitions},
        {p: state.load(p, ["u", "v"], ()) for p in partitions},
    )


@settings(max_examples=30, deadline=None)
@given(
    histories=st.lists(HISTORIES, max_size=4),
    items=st.lists(ITEMS, max_size=3),
    users=st.lists(USERS, max_size=3),
    counted=st.dictionaries(IDENTIFIERS, st.lists(st.integers(0, 10 * HOUR), min_size=1)),
    positions=st.dictionaries(st.sampled_from(["events", "items", "users"]), st.integers(0, 2**62)),
)
def test_what_is_committed_is_loaded_and_pushed(
    shared: OpenState,
    histories: list[UserHistory],
    items: list[Item],
    users: list[User],
    counted: dict[str, list[int]],
    positions: dict[str, int],
) -> None:
    shared.reset()
    updates = Updates(
        histories={each.user_id: each for each in histories},
        statistics={key: statistics(key, *times) for key, times in counted.items()},
        items={each.item_id: each for each in items},
        users={each.user_id: each for each in users},
    )
    before = shared.load(3, (), ()).version
    shared.commit(3, before, updates, positions)
    loaded = shared.load(3, [*updates.histories, "nobody"], [*counted, "nothing"])
    assert loaded.version == before + 1
    assert loaded.positions == positions
    kept = {key: each for key, each in updates.histories.items() if each.events}
    assert repr(sorted(loaded.histories.items())) == repr(sorted(kept.items()))
    assert loaded.statistics == updates.statistics
    pushed = shared.unpushed(3).updates
    for kind in ("histories", "statistics", "items", "users"):
        found, wanted = getattr(pushed, kind), getattr(updates, kind)
        assert {key: comparable(each) for key, each in found.items()} == {
            key: comparable(each) for key, each in wanted.items()
        }


def test_a_new_state_is_empty(state: OpenState) -> None:
    assert contents(state)[:3] == ([], [], set())
    assert state.load(77, ["u"], ["i"]).version == 0
    assert not state.unpushed(77)
    assert state.count_unpushed() == 0


def test_the_next_process_finds_it(state: OpenState, open_state: Callable[[], OpenState]) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1)}), {"events": 5})
    assert contents(open_state()) == contents(state)


def test_a_conflict_changes_nothing(state: OpenState) -> None:
    first = Updates(histories={"u": history("u", 1)}, erasures={"v": 1})
    commit(state, 0, first, {"events": 5})
    state.commit(IMPORTED, state.load(IMPORTED, (), ()).version, Updates(), {}, ["a"])
    version = state.load(0, (), ()).version
    before = contents(state)
    everything = Updates(
        histories={"u": history("u", 2), "v": history("v", 1)},
        statistics={"i": statistics("i", 1)},
        items={"i": Item(item_id="i")},
        users={"u": None},
        erasures={"u": 3},
        outdated=2,
    )
    for stale in (version - 1, version + 1):
        with pytest.raises(StateConflict, match="partition 0 is not at version"):
            state.commit(0, stale, everything, {"events": 9, "items": 1}, ["b"])
    assert contents(state) == before


def test_partitions_do_not_conflict(state: OpenState) -> None:
    zero, one = state.load(0, (), ()).version, state.load(1, (), ()).version
    state.commit(0, zero, Updates(statistics={"i": statistics("i", 1)}), {"events": 1})
    state.commit(1, one, Updates(statistics={"i": statistics("i", 2)}), {"events": 7})
    assert state.load(0, (), ["i"]).statistics == {"i": statistics("i", 1)}
    assert state.load(1, (), ()).positions == {"events": 7}


def test_positions_of_a_topic_that_had_no_records_stay(state: OpenState) -> None:
    commit(state, 0, Updates(), {"events": 4, "items": 2})
    commit(state, 0, Updates(), {"events": 6})
    assert state.load(0, (), ()).positions == {"events": 6, "items": 2}


def test_an_erased_history_is_gone_and_pushed_as_empty(state: OpenState) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1)}))
    stamp = commit(state, 0, Updates(histories={"u": UserHistory("u")}))
    assert state.load(0, ["u"], ()).histories == {}
    assert state.unpushed(0).updates.histories == {"u": UserHistory("u")}
    state.forget_pushed(0, {(HISTORY, "u"): stamp})
    assert not state.unpushed(0)


def test_the_moments_of_a_history_stay_with_it(state: OpenState) -> None:
    moments = {"u": (7, 2**53), "v": (3,)}
    histories = {"u": history("u", 1, 2), "v": history("v", 1), "imported": history("imported", 1)}
    commit(state, 0, Updates(histories=histories, moments=moments))
    loaded = state.load(0, [*histories, "nobody"], ())
    assert loaded.histories == histories
    assert loaded.moments == {**moments, "imported": (0,)}


def test_an_erasure_is_remembered_until_it_is_outdated(state: OpenState) -> None:
    users = ["ü", "v", "w"]
    commit(state, 0, Updates(erasures={"ü": 2**53, "v": 5}))
    commit(state, 1, Updates(erasures={"v": 4, "w": 1}))
    assert state.load(0, users, ()).erasures == {"ü": 2**53, "v": 5}
    assert state.load(1, users, ()).erasures == {"v": 4, "w": 1}
    assert state.load(0, (), ()).erasures == {}
    commit(state, 0, Updates(erasures={"v": 9}, outdated=5))
    assert state.load(0, users, ()).erasures == {"ü": 2**53, "v": 9}
    commit(state, 0, Updates(outdated=10))
    assert state.load(0, users, ()).erasures == {"ü": 2**53}
    assert state.load(1, users, ()).erasures == {"v": 4, "w": 1}
    state.reset()
    assert [state.load(number, users, ()).erasures for number in (0, 1)] == [{}, {}]


def test_a_deleted_item_is_pushed_as_none(state: OpenState) -> None:
    commit(state, 0, Updates(items={"i": Item(item_id="i")}, users={"u": User(user_id="u")}))
    stamp = commit(state, 0, Updates(items={"i": None}, users={"u": None}))
    unpushed = state.unpushed(0)
    assert (unpushed.updates.items, unpushed.updates.users) == ({"i": None}, {"u": None})
    assert unpushed.stamps == {(ITEM, "i"): stamp, (USER, "u"): stamp}


def test_a_list_is_read_in_pages(state: OpenState) -> None:
    users = {f"ü{number}": history(f"ü{number}", number) for number in range(3_000)}
    items = {f"物 {number}": statistics(f"物 {number}", number) for number in range(3_000)}
    commit(state, 0, Updates(histories=users, statistics=items))
    assert state.count_unpushed() == 6_000
    assert len(state.load(0, users, items).statistics) == 3_000
    told = Updates()
    while unpushed := state.unpushed(0, 2_500):
        assert len(unpushed.stamps) <= 2_500
        told.add(unpushed.updates)
        state.forget_pushed(0, unpushed.stamps)
    assert (told.histories, told.statistics) == (users, items)
    assert {each.item_id for some in state.all_statistics(500) for each in some} == set(items)


def test_folded_segments_are_remembered(state: OpenState) -> None:
    version = state.load(IMPORTED, (), ()).version
    state.commit(IMPORTED, version, Updates(), {}, ["a", "b"])
    state.commit(IMPORTED, version + 1, Updates(), {}, ["b", "c"])
    assert state.folded_segments() == {"a", "b", "c"}


def test_after_a_reset_nothing_older_can_be_committed(state: OpenState) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1)}), {"events": 1})
    version = state.load(0, (), ()).version
    state.reset()
    assert contents(state)[:3] == ([], [], set())
    assert state.load(0, ["u"], ()).positions == {}
    with pytest.raises(StateConflict):
        state.commit(0, version, Updates(), {"events": 2})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10 * HOUR)), min_size=1, max_size=20))
def test_merged_over_partitions_it_is_the_fold_of_all_events(
    shared: OpenState, events: list[tuple[int, int]]
) -> None:
    shared.reset()
    for partition, time in events:
        known = shared.load(partition, (), ["i"]).statistics.get("i", nothing("i"))
        commit(shared, partition, Updates(statistics={"i": count(known, "view", time)}))
    expected = statistics("i", *(time for _, time in events))
    [[everywhere]] = list(shared.all_statistics())
    for merged in (everywhere, shared.unpushed(events[0][0]).updates.statistics["i"]):
        assert merged.timestamp == expected.timestamp
        assert merged.week == pytest.approx(expected.week)
        assert merged.hour == pytest.approx(expected.hour)


@pytest.mark.redis
def test_a_sum_that_is_pushed_is_news_for_no_other_partition(redis_url: str) -> None:
    state = open_stream_state(redis_url)
    state.reset()
    for partition in (0, 1, 2):
        commit(state, partition, Updates(statistics={"i": statistics("i", partition)}))
    pushed = state.unpushed(0)
    # What comes meanwhile is on its own partition's list alone: the others' is the older sum.
    commit(state, 2, Updates(statistics={"j": statistics("j", 7)}))
    state.forget_pushed(0, pushed.stamps)
    assert [list(state.unpushed(each).stamps) for each in (0, 1, 2)] == [
        [],
        [],
        [("statistics", "j")],
    ]
    late = state.unpushed(2)
    commit(state, 1, Updates(statistics={"j": statistics("j", 8)}))
    state.forget_pushed(2, late.stamps)
    assert all(state.unpushed(each).stamps for each in (1, 2))
    state.close()


def values_of(updates: Updates) -> list[tuple[str, dict[str, Any]]]:
    return [
        (HISTORY, updates.histories),
        (ITEM, updates.items),
        ("statistics", updates.statistics),
    ]


class Pusher:
    """Reads a list, pushes to the store, and takes the keys off: one call a time."""

    def __init__(self, state: OpenState, online: dict[Key, Any], committed: dict[Key, Any]) -> None:
        self.state, self.online, self.committed = state, online, committed
        self.pending: list[tuple[int, Unpushed]] = []
        self.pushed: list[tuple[int, Unpushed]] = []

    def read(self, partition: int) -> None:
        if unpushed := self.state.unpushed(partition):
            self.pending.append((partition, unpushed))

    def fold(self, partition: int, time: int) -> None:
        before = self.state.load(partition, (), ["i"])
        known = before.statistics.get("i", nothing("i"))
        updates = Updates(
            histories={f"u{partition}": history(f"u{partition}", time)},
            items={
                f"i{partition}": None
                if time % 3 == 0
                else Item(item_id=f"i{partition}", title=str(time))
            },
            statistics={"i": count(known, "view", time)},
        )
        stamp = self.state.commit(partition, before.version, updates, {})
        self.committed |= {(ITEM, key): item for key, item in updates.items.items()}
        self.pending.append((partition, whole_values(updates, stamp)))

    def push(self) -> None:
        if self.pending:
            partition, unpushed = self.pending.pop(0)
            for kind, values in values_of(unpushed.updates):
                self.online.update({(kind, key): value for key, value in values.items()})
            self.pushed.append((partition, unpushed))

    def forget(self) -> None:
        if self.pushed:
            partition, unpushed = self.pushed.pop(0)
            self.state.forget_pushed(partition, unpushed.stamps)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from(["fold 0", "fold 1", "read 0", "read 1", "push", "forget"]),
        ),
        max_size=30,
    )
)
def test_what_is_pushed_last_is_the_newest(
    shared: OpenState, actions: list[tuple[int, str]]
) -> None:
    """Two pushers, each of them perhaps a zombie of the other, in any order of their calls."""
    shared.reset()
    online: dict[Key, Any] = {}
    items: dict[Key, Any] = {}
    pushers = Pusher(shared, online, items), Pusher(shared, online, items)
    for time, (which, action) in enumerate(actions):
        pusher = pushers[which]
        match action.split():
            case ["fold", partition]:
                pusher.fold(0 if partition == "0" else 1, time)
            case ["read", partition]:
                pusher.read(int(partition))
            case ["push"]:
                pusher.push()
            case ["forget"]:
                pusher.forget()
    for _ in range(20):
        for pusher in pushers:
            while pusher.pending or pusher.pushed:
                pusher.push()
                pusher.forget()
            for partition in (0, 1):
                pusher.read(partition)
        if not shared.count_unpushed():
            break
    assert shared.count_unpushed() == 0
    histories = {each.user_id: each for some in shared.all_histories() for each in some}
    merged = {each.item_id: each for some in shared.all_statistics() for each in some}
    assert online == {
        **items,
        **{(HISTORY, key): each for key, each in histories.items()},
        **{("statistics", key): each for key, each in merged.items()},
    }


@pytest.mark.parametrize("url", ["sqlite://", "redis://localhost/x", "http://h/1", "state.sqlite"])
def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="`state_url` must be"):
        open_stream_state(url)


@pytest.mark.redis
def test_a_server_that_is_gone_is_one_error(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        state = open_stream_state(url)
        state.load(0, ["u"], ["i"])
    for call in (
        lambda: state.load(0, ["u"], ["i"]),
        lambda: state.commit(0, 0, Updates(), {}),
        lambda: state.unpushed(0),
        lambda: state.forget_pushed(0, {(HISTORY, "u"): "0:1"}),
        lambda: list(state.all_statistics()),
    ):
        with pytest.raises(StateError, match="redis://"):
            call()
    state.close()
