"""What every `OpenState` does. A new implementation adds its URL to `open_state`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.history import UserHistory
from feature_repo.item_statistics import count, nothing
from feature_repo.schema import Item, User
from feature_repo.times import HOUR
from streaming.milestones import Milestones
from streaming.open_stream_state import open_stream_state
from streaming.stream_state import (
    HISTORY,
    IMPORTED,
    ITEM,
    USER,
    OpenState,
    StateConflict,
    StateError,
    remember,
)
from streaming.updates import Updates
from tests.support.records import HISTORIES, IDENTIFIERS, ITEMS, USERS, comparable
from tests.support.redis_server import RedisServer
from tests.support.stream_states import commit, history, statistics

TAKEN_UP = Milestones.of_segments("ab", "a", "a")
LATER = Milestones(event_segments=frozenset("bc"), is_followed=True)


def contents(state: OpenState) -> Any:
    partitions = state.partitions()
    return (
        sorted((each for some in state.all_histories() for each in some), key=lambda h: h.user_id),
        sorted((each for some in state.all_statistics() for each in some), key=lambda s: s.item_id),
        state.milestones(),
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
    assert contents(state)[:3] == ([], [], Milestones())
    assert state.load(77, ["u"], ["i"]).version == 0
    assert not state.unpushed(77)
    assert state.count_unpushed() == 0


def test_the_next_process_finds_it(state: OpenState, open_state: Callable[[], OpenState]) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1)}), {"events": 5})
    assert contents(open_state()) == contents(state)


def test_a_conflict_changes_nothing(state: OpenState) -> None:
    first = Updates(histories={"u": history("u", 1)}, erasures={"v": 1})
    commit(state, 0, first, {"events": 5})
    state.commit(IMPORTED, state.load(IMPORTED, (), ()).version, Updates(), {}, milestones=TAKEN_UP)
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
            state.commit(0, stale, everything, {"events": 9, "items": 1}, milestones=LATER)
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


def test_items_are_as_they_were_committed_last_in_any_partition(state: OpenState) -> None:
    old, new = Item(item_id="i", price=1.0), Item(item_id="i", price=2.0)
    gone, others = Item(item_id="ü g"), {f"i{n}": Item(item_id=f"i{n}") for n in range(1_500)}
    commit(state, 0, Updates(items={"i": old, "ü g": gone, **others}))
    assert state.items(["ü g", "i", "unknown"]) == {"i": old, "ü g": gone}
    assert state.items(others) == others
    commit(state, 1, Updates(items={"i": new, "ü g": None}))
    assert state.items(["ü g", "i", "unknown"]) == {"i": new, "ü g": None}
    assert state.items([]) == {}


def test_milestones_are_remembered_each_for_itself(state: OpenState) -> None:
    version = state.load(IMPORTED, (), ()).version
    state.commit(IMPORTED, version, Updates(), {}, milestones=TAKEN_UP)
    assert state.milestones() == TAKEN_UP
    state.commit(IMPORTED, version + 1, Updates(), {}, milestones=LATER)
    assert state.milestones() == Milestones(
        event_segments=frozenset("abc"),
        user_segments=frozenset("a"),
        item_segments=frozenset("a"),
        is_followed=True,
    )
    state.reset()
    assert state.milestones() == Milestones()


def test_milestones_are_remembered_whatever_is_committed_meanwhile(state: OpenState) -> None:
    others = [1, 2]

    class Overtaken:
        def load(self, *arguments: Any) -> Any:
            found = state.load(*arguments)
            if others:
                commit(state, IMPORTED, Updates(histories={"u": history("u", others.pop())}))
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(state, name)

    remember(Overtaken(), TAKEN_UP)
    assert state.milestones() == TAKEN_UP
    assert state.load(IMPORTED, ["u"], ()).histories == {"u": history("u", 1)}
    assert not others


def test_after_a_reset_nothing_older_can_be_committed(state: OpenState) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1)}), {"events": 1})
    version = state.load(0, (), ()).version
    state.reset()
    assert contents(state)[:3] == ([], [], Milestones())
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


@pytest.mark.parametrize("url", ["sqlite://", "redis://localhost/x", "http://h/1", "state.sqlite"])
def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="`state_url` must be"):
        open_stream_state(url)


@pytest.mark.redis
def test_a_server_that_is_gone_is_one_error(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    state = open_stream_state(server.url)
    try:
        state.load(0, ["u"], ["i"])
    finally:
        server.kill()
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
