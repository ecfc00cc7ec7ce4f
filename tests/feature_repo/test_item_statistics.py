import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.item_statistics import at, count, count_columns, merge, nothing
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
