import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.item_statistics import (
    MAX_TYPES,
    NEGLIGIBLE,
    at,
    count,
    count_columns,
    merge,
    nothing,
)
from feature_repo.online_features import ItemStatistics
from feature_repo.times import DAY, HOUR, WEEK

START = 1_700_000_000_000_000
events = st.lists(
    st.tuples(st.sampled_from(["view", "cart", "purchase"]), st.integers(0, 3 * WEEK)),
    min_size=1,
    max_size=30,
).map(lambda pairs: [(kind, START + offset) for kind, offset in pairs])


def counted(pairs: list[tuple[str, int]]) -> ItemStatistics:
    statistics = nothing("i")
    for kind, timestamp in pairs:
        statistics = count(statistics, kind, timestamp)
    return statistics


def close(left: ItemStatistics, right: ItemStatistics) -> None:
    assert (left.item_id, left.timestamp, left.event_types) == (
        right.item_id,
        right.timestamp,
        right.event_types,
    )
    for window in ("hour", "day", "week"):
        wanted: Any = pytest.approx(getattr(right, window), rel=1e-9, abs=1e-12)
        assert getattr(left, window) == wanted


@given(events)
def test_counts_are_the_definition(pairs: list[tuple[str, int]]) -> None:
    newest = max(timestamp for _, timestamp in pairs)
    types = tuple(sorted({kind for kind, _ in pairs}))
    windows = [
        tuple(
            sum(math.exp((timestamp - newest) / window) for kind, timestamp in pairs if kind == one)
            for one in types
        )
        for window in (HOUR, DAY, WEEK)
    ]
    close(counted(pairs), ItemStatistics("i", newest, types, *windows))


@given(events, st.randoms())
def test_late_events_weigh_as_if_they_had_come_in_time(
    pairs: list[tuple[str, int]], random: Any
) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    close(counted(shuffled), counted(pairs))


@given(events, events)
def test_counts_add_up(left: list[tuple[str, int]], right: list[tuple[str, int]]) -> None:
    close(merge(counted(left), counted(right)), counted(left + right))


@given(events)
def test_columns_are_counted_like_the_stream(pairs: list[tuple[str, int]]) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["i"] * len(pairs),
            "event_type": [kind for kind, _ in pairs],
            "timestamp": [timestamp for _, timestamp in pairs],
        }
    )
    close(count_columns(frame)["i"], counted(pairs))


# Of more types than are kept, over a longer time than a type is remembered for.
many = st.lists(
    st.tuples(st.integers(0, 99).map("t{}".format), st.integers(START, START + 60 * WEEK)),
    max_size=100,
)


@given(many, st.integers(0, 99).map("t{}".format), st.integers(START, START + 60 * WEEK))
def test_counting_one_event_is_merging_it_however_many_types_there_are(
    pairs: list[tuple[str, int]], kind: str, timestamp: int
) -> None:
    one = ItemStatistics("i", timestamp, (kind,), (1.0,), (1.0,), (1.0,))
    after = count(counted(pairs), kind, timestamp)
    assert after == merge(counted(pairs), one)
    assert len(after.event_types) <= MAX_TYPES


@given(many.filter(len), st.randoms())
def test_a_type_that_weighs_nothing_any_more_is_forgotten(
    pairs: list[tuple[str, int]], random: Any
) -> None:
    few = [(f"t{int(kind[1:]) % MAX_TYPES}", timestamp) for kind, timestamp in pairs]
    in_order = counted(sorted(few, key=lambda pair: pair[1]))
    random.shuffle(few)
    any_order = counted(few)
    # What was forgotten on the way is less than is told apart.
    weeks = [dict(zip(each.event_types, each.week, strict=True)) for each in (in_order, any_order)]
    for kind in weeks[0].keys() | weeks[1].keys():
        left, right = (each.get(kind, 0.0) for each in weeks)
        assert left == pytest.approx(right, rel=1e-6, abs=len(few) * NEGLIGIBLE)
    assert min(in_order.week) >= NEGLIGIBLE
    assert at(in_order, in_order.timestamp + 30 * WEEK).event_types == ()


@given(st.integers(2, 40), st.integers(MAX_TYPES, 300), st.randoms())
def test_of_types_without_end_the_heaviest_are_kept(real: int, invented: int, random: Any) -> None:
    often = [(f"z{number}", START) for number in range(real)] * 2
    once = [(f"a{number}", START) for number in range(invented)]
    random.shuffle(once)
    kinds = [kind for kind, _ in (*once, *often)]
    frame = pl.DataFrame({"item_id": "i", "event_type": kinds, "timestamp": START})
    for each in (counted([*often, *once]), count_columns(frame)["i"]):
        assert len(each.event_types) == MAX_TYPES
        # Of equal ones the first by name.
        first = sorted(kind for kind, _ in once)[: MAX_TYPES - real]
        assert {*each.event_types} == {*first, *(kind for kind, _ in often)}


def test_an_earlier_moment_changes_nothing() -> None:
    statistics = counted([("view", START)])
    assert at(statistics, START - HOUR) is statistics


def test_two_items_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"must describe item 'i'\. Received: 'j'"):
        merge(nothing("i"), nothing("j"))


@given(events, st.sampled_from(["cart", "other", "view"]), st.integers(0, 3 * WEEK))
def test_counting_is_merging_one_event(
    pairs: list[tuple[str, int]], kind: str, offset: int
) -> None:
    one = ItemStatistics("i", START + offset, (kind,), (1.0,), (1.0,), (1.0,))
    assert count(counted(pairs), kind, START + offset) == merge(counted(pairs), one)
