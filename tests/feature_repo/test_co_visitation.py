"""The sums run over the pairs of a set of events, in whatever order it became known."""

import math
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.co_visitation import DECAY, Pair, add, heaviest, merge, nothing, pairs
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.co_visited_columns import COLUMNS, co_visited
from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.online_features import CoVisitation
from feature_repo.times import DAY

START = 1_700_000_000_000_000
SETTINGS = CoVisitationSettings(
    neighbours=50, window_days=2, gap_days=0.5, backward=0.25, event_type_weights={"view": 4.0}
)
TYPES = st.sampled_from(["view", "purchase"])

# (user, item, moment in half days, type); many of one moment, some far apart. Events of two users
# have the same ids.
events = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 12), TYPES), max_size=25
).map(
    lambda rows: [
        (
            f"u{user}",
            HistoryEvent(START + step * DAY // 2, f"e{own:02}", f"i{item}", kind, 0.0),
        )
        for n, (user, item, step, kind) in enumerate(rows)
        for own in [sum(earlier[0] == user for earlier in rows[:n])]
    ]
)


def learned(
    rows: list[tuple[str, HistoryEvent]], settings: CoVisitationSettings = SETTINGS
) -> dict[str, CoVisitation]:
    """What the stream has learned after `rows`, one by one."""
    histories: dict[str, UserHistory] = {}
    state: dict[str, CoVisitation] = {}
    for user, event in rows:
        before = histories.get(user, UserHistory(user))
        histories[user] = after = append(before, event)
        if after is before:
            continue
        for pair in pairs(after, event, settings):
            known = state.get(pair.item_id, nothing(pair.item_id))
            state[pair.item_id] = add(known, [pair], settings)
    return state


def frame(some: list[tuple[str, HistoryEvent]]) -> pl.DataFrame:
    columns = [(user, e.timestamp, e.event_id, e.item_id, e.event_type) for user, e in some]
    types = (pl.String(), pl.Int64(), pl.String(), pl.String(), pl.String())
    return pl.DataFrame(columns, dict(zip(COLUMNS, types, strict=True)), orient="row")


def same(found: dict[str, CoVisitation], wanted: dict[str, CoVisitation]) -> None:
    """Equal but for rounding, which may also exchange neighbours that weigh the same."""
    assert found.keys() == wanted.keys()
    for item_id, each in found.items():
        assert each.timestamp == wanted[item_id].timestamp
        weights = dict(zip(each.neighbour_ids, each.weights, strict=True))
        columns = wanted[item_id].neighbour_ids, wanted[item_id].weights
        assert weights == pytest.approx(dict(zip(*columns, strict=True)), rel=1e-9)


def expected(rows: list[tuple[str, HistoryEvent]]) -> dict[tuple[str, str], float]:
    """The definition, as of the newest event of all."""
    sums: dict[tuple[str, str], float] = {}
    for (user, first), (other, second) in combinations(sorted(rows), 2):
        gap = second.timestamp - first.timestamp
        if user != other or first.item_id == second.item_id or gap > 2 * DAY:
            continue
        worth = math.sqrt(
            math.prod(4.0 if e.event_type == "view" else 1.0 for e in (first, second))
        )
        weight = worth * math.exp(-gap / (0.5 * DAY)) * math.exp((second.timestamp - START) / DECAY)
        for key, share in (
            ((first.item_id, second.item_id), 1.0),
            ((second.item_id, first.item_id), 0.25 if gap else 1.0),
        ):
            sums[key] = sums.get(key, 0.0) + weight * share
    return sums


@given(events)
def test_weights_are_the_definition(rows: list[tuple[str, HistoryEvent]]) -> None:
    found = {
        (item_id, neighbour): weight * math.exp((each.timestamp - START) / DECAY)
        for item_id, each in learned(rows).items()
        for neighbour, weight in zip(each.neighbour_ids, each.weights, strict=True)
    }
    assert found == pytest.approx(expected(rows), rel=1e-9)


@given(events, st.randoms())
def test_the_order_of_arrival_and_repetitions_change_nothing(
    rows: list[tuple[str, HistoryEvent]], random: Any
) -> None:
    shuffled = rows + random.sample(rows, len(rows) // 2)
    random.shuffle(shuffled)
    same(learned(shuffled), learned(rows))


@given(events, st.integers(0, 3))
def test_partitions_add_up(rows: list[tuple[str, HistoryEvent]], cut: int) -> None:
    left = learned([row for row in rows if row[0] < f"u{cut}"])
    right = learned([row for row in rows if row[0] >= f"u{cut}"])
    merged = {
        key: merge(left.get(key, nothing(key)), right.get(key, nothing(key)))
        for key in left.keys() | right.keys()
    }
    same(merged, learned(rows))


@given(events, st.integers(0, 25))
def test_columns_are_paired_like_the_stream(
    rows: list[tuple[str, HistoryEvent]], known: int
) -> None:
    before = learned(rows[:known])
    added = co_visited(frame(rows[known:]), frame(rows), SETTINGS, 128)
    merged = {
        key: merge(before.get(key, nothing(key)), added.get(key, nothing(key)))
        for key in before.keys() | added.keys()
    }
    same(merged, learned(rows))


def test_who_comes_later_is_what_follows() -> None:
    rows = [
        ("u", HistoryEvent(START, "e1", "kettle", "purchase", 0.0)),
        ("u", HistoryEvent(START + DAY // 2, "e2", "filter", "purchase", 0.0)),
    ]
    state = learned(rows)
    assert state["kettle"].weights[0] == pytest.approx(4 * state["filter"].weights[0])


def test_neighbours_are_bounded_and_the_heaviest_stay() -> None:
    settings = CoVisitationSettings(neighbours=4)
    rows = [
        (f"u{n}-{again}", HistoryEvent(START, f"{n}-{again}-{item}", item, "view", 0.0))
        for n in range(6)
        for again in range(1 + n)
        for item in ("kettle", f"i{n}")
    ]
    kettle = learned(rows, settings)["kettle"]
    assert len(kettle.neighbour_ids) <= 4
    assert kettle.neighbour_ids[0] == "i5"
    assert heaviest(kettle, 1).neighbour_ids == ("i5",)


@pytest.mark.parametrize("most", [1, 4, 5])
def test_as_many_neighbours_as_may_be_are_kept_and_of_more_the_heavier_half(most: int) -> None:
    settings = SETTINGS.model_copy(update={"neighbours": most})
    made = [Pair("i", f"n{number}", 1.0 + number, START) for number in range(most + 1)]
    full = add(nothing("i"), made[:most], settings)
    assert len(full.neighbour_ids) == most
    heavier = [pair.neighbour_id for pair in made[::-1][: (most + 1) // 2]]
    assert add(full, made[most:], settings).neighbour_ids == tuple(heavier)


@given(events, st.integers(1, 3))
def test_columns_keep_the_heaviest_neighbours_in_their_order(
    rows: list[tuple[str, HistoryEvent]], most: int
) -> None:
    few = SETTINGS.model_copy(update={"neighbours": most})
    found = co_visited(frame(rows), frame(rows), few, 128)
    every = co_visited(frame(rows), frame(rows), SETTINGS, 128)
    assert found.keys() == every.keys()
    for item_id, each in every.items():
        pairs_ = list(zip(each.neighbour_ids, each.weights, strict=True))
        assert pairs_ == sorted(pairs_, key=lambda pair: (-pair[1], pair[0]))
        kept = heaviest(each, most)
        assert found[item_id].neighbour_ids == kept.neighbour_ids
        assert found[item_id].weights == pytest.approx(kept.weights)


def test_equal_neighbours_stand_in_the_order_of_the_alphabet() -> None:
    basket = [("u", HistoryEvent(START, item, item, "view", 0.0)) for item in ("c", "a", "k", "b")]
    assert learned(basket)["k"].neighbour_ids == ("a", "b", "c")


def test_two_items_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"must describe item 'i'\. Received: 'j'"):
        merge(nothing("i"), nothing("j"))
