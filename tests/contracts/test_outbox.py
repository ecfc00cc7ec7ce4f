"""What every `OpenState` lists as unpushed, whoever pushes it and takes it off."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_repo.history import UserHistory
from feature_repo.item_statistics import count, nothing
from feature_repo.schema import Item, User
from streaming.additive import FOLD_IN
from streaming.fold_in import FoldIn
from streaming.open_stream_state import open_stream_state
from streaming.stream_state import (
    AGAIN,
    HISTORY,
    ITEM,
    Key,
    OpenState,
    Unpushed,
    whole_values,
)
from streaming.updates import Updates
from tests.support.stream_states import commit, history, statistics


def test_a_list_is_read_in_pages(state: OpenState) -> None:
    users = {f"ü{number}": history(f"ü{number}", number) for number in range(3_000)}
    items = {f"物 {number}": statistics(f"物 {number}", number) for number in range(3_000)}
    commit(state, 0, Updates(histories=users, statistics=items))
    assert state.count_unpushed() == 6_000
    assert len(state.load(0, users, items).statistics) == 3_000
    told = Updates()
    while unpushed := state.unpushed(0, 2_500):
        assert len(unpushed.stamps) <= 2_500
        told = Updates.together([told, unpushed.updates])
        state.forget_pushed(0, unpushed.stamps)
    assert (told.histories, told.statistics) == (users, items)
    assert {each.item_id for some in state.all_statistics(500) for each in some} == set(items)


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
            st.sampled_from(
                [
                    "fold 0",
                    "fold 1",
                    "read 0",
                    "read 1",
                    "read -2",
                    "push",
                    "forget",
                    "lose",
                    "list",
                ]
            ),
        ),
        max_size=30,
    )
)
# What is pushed before the store is emptied is taken off after everything was listed.
@example([(0, "fold 0"), (0, "push"), (1, "lose"), (1, "list"), (0, "forget")])
@example([(0, "fold 0"), (0, "read 0"), (0, "push"), (0, "forget"), (1, "lose"), (1, "list"),
          (0, "push"), (0, "forget")])  # fmt: skip
# The older value is read from the list of everything, and pushed after the newer one.
@example([(0, "fold 0"), (0, "push"), (0, "forget"), (1, "list"), (1, "read -2"), (0, "fold 0"),
          (0, "push"), (0, "forget"), (1, "push"), (1, "forget")])  # fmt: skip
# The older value is pushed between the push of the newer one and its taking off the list.
@example([(0, "fold 0"), (1, "fold 0"), (1, "read 0"), (1, "push"), (1, "push")])
@example([(0, "fold 0"), (0, "push"), (0, "read 0"), (1, "fold 0"), (1, "read 0"), (1, "push")])
def test_what_is_pushed_last_is_the_newest(
    shared: OpenState, actions: list[tuple[int, str]]
) -> None:
    """Two pushers, each of them perhaps a zombie of the other, in any order of their calls.

    The store may be emptied at any time. What it has lost is listed after that, never before.
    """
    shared.reset()
    online: dict[Key, Any] = {}
    items: dict[Key, Any] = {}
    is_lost = False
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
            case ["lose"]:
                online.clear()
                is_lost = True
            case ["list"]:
                shared.list_all_again()
                is_lost = False
    if is_lost:
        shared.list_all_again()
    for _ in range(20):
        for pusher in pushers:
            while pusher.pending or pusher.pushed:
                pusher.push()
                pusher.forget()
            for partition in (0, 1, AGAIN):
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


def listed(state: OpenState, partition: int, page: int) -> Updates:
    """Return what is on a list, which is then empty."""
    told = Updates()
    while unpushed := state.unpushed(partition, page):
        told = Updates.together([told, unpushed.updates])
        state.forget_pushed(partition, unpushed.stamps)
    return told


def test_everything_can_be_listed_again(state: OpenState) -> None:
    assert state.list_all_again() == 0
    people = {f"ü {number}": history(f"ü {number}", number + 1) for number in range(2_500)}
    gone = {"gone": UserHistory("gone")}
    users = {"ü 1": User(user_id="ü 1"), "gone": None}
    items = {"物 1": Item(item_id="物 1"), "i 2": None}
    commit(state, 0, Updates(histories=people, items=items, users=users))
    commit(state, 1, Updates(histories=gone, statistics={"i": statistics("i", 1)}))
    commit(state, 2, Updates(statistics={"i": statistics("i", 2)}))
    for partition in (0, 1, 2):
        listed(state, partition, 2_000)
    assert state.count_unpushed() == 0
    assert state.list_all_again() == state.count_unpushed() == 2_500 + 1 + 2 + 2 + 1
    assert AGAIN in state.partitions()
    again = listed(state, AGAIN, 1_000)
    assert again.histories == people | gone
    assert (again.items, again.users) == (items, users)
    assert again.statistics == {"i": statistics("i", 1, 2)}
    assert state.count_unpushed() == 0


def test_who_has_read_a_list_before_takes_nothing_off_that_is_listed_again(
    state: OpenState,
) -> None:
    updates = Updates(histories={"u": history("u", 1)}, statistics={"i": statistics("i", 1)})
    commit(state, 0, updates)
    own = state.unpushed(0)
    state.list_all_again()
    again = state.unpushed(AGAIN)
    state.list_all_again()
    for partition, before in ((0, own), (AGAIN, again)):
        state.forget_pushed(partition, before.stamps)
    assert listed(state, AGAIN, 10).histories == updates.histories
    commit(state, 0, updates)
    state.list_all_again()
    state.forget_pushed(0, state.unpushed(0).stamps)
    assert listed(state, AGAIN, 10).histories == updates.histories


def test_what_is_committed_is_on_the_list_of_its_partition_alone(state: OpenState) -> None:
    commit(state, 0, Updates(histories={"u": history("u", 1), "v": history("v", 1)}))
    state.list_all_again()
    commit(state, 1, Updates(histories={"u": history("u", 2)}))
    assert set(state.unpushed(AGAIN).updates.histories) == {"v"}
    assert state.unpushed(1).updates.histories == {"u": history("u", 2)}


def test_an_item_is_listed_with_the_sums_that_move_it(state: OpenState) -> None:
    sums = FoldIn("i", "v1", 1, 2.0, np.ones(3))
    commit(state, 0, Updates(fold_in={"i": sums}))
    listed(state, 0, 10)
    commit(state, 0, Updates(items={"i": Item(item_id="i")}))
    unpushed = state.unpushed(0)
    assert list(unpushed.stamps) == [(ITEM, "i")]
    assert FOLD_IN.encode(unpushed.updates.fold_in["i"]) == FOLD_IN.encode(sums)
