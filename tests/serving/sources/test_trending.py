"""What trends, whether the kept head of the list answers or all rows are looked at."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.online_features import ItemStatistics
from feature_repo.times import microseconds
from serving.item_rows import ItemRows
from serving.settings import ServingSettings
from serving.sources import trending
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource
from tests.support.stream import NOW

ITEMS = [f"i{number}" for number in range(30)]
COUNTS = st.lists(st.integers(0, 5), min_size=30, max_size=30)
MASKS = st.lists(st.booleans(), min_size=20, max_size=30)


def statistics(item_id: str, events: int, event_type: str = "view") -> ItemStatistics:
    moment = microseconds(NOW - timedelta(hours=1))
    counts = (float(events),)
    return ItemStatistics(item_id, moment, (event_type,), counts, counts, counts)


def context(allowed: list[bool]) -> Context:
    unused: Any = None
    return Context(unused, unused, np.array(allowed), False, None, NOW)


@given(before=COUNTS, after=COUNTS, allowed=MASKS, count=st.integers(0, 40))
def test_the_head_answers_as_all_rows_do(
    before: list[int], after: list[int], allowed: list[bool], count: int
) -> None:
    source = TrendingSource(ItemRows(), ServingSettings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trending, "HEAD", 7)
        for counts in (before, after):
            source.update([statistics(*pair) for pair in zip(ITEMS, counts, strict=True)])
            found = source.propose(context(allowed), count)
    rows = [row for row, shown in enumerate(allowed) if shown and after[row] > 0]
    assert len(found.rows) == min(count, len(rows)) == len(set(found.rows.tolist()))
    assert set(found.rows.tolist()) <= set(rows)
    shown = sorted((after[row] for row in found.rows.tolist()), reverse=True)
    assert [after[row] for row in found.rows.tolist()] == shown
    assert shown == sorted((after[row] for row in rows), reverse=True)[:count]
    decayed = np.exp(-1 / 24)  # an hour of the window of a day
    np.testing.assert_allclose(found.scores, np.array(shown) * decayed, rtol=1e-5)


def test_older_statistics_do_not_replace_newer_ones_that_a_worker_here_has_told() -> None:
    source, newer = TrendingSource(ItemRows(), ServingSettings()), statistics("i0", 3)
    older = replace(statistics("i0", 2), timestamp=newer.timestamp - 1)
    source.tell([newer])
    source.update([older, statistics("i1", 5)])
    found = source.worth(np.arange(2), NOW - timedelta(hours=1))
    np.testing.assert_allclose(found[:, 1], [3, 5], rtol=1e-5)
    # Counted late, as of the same moment.
    source.update([statistics("i0", 4)])
    found = source.worth(np.arange(2), NOW - timedelta(hours=1))
    np.testing.assert_allclose(found[:, 1], [4, 5], rtol=1e-5)


def test_what_a_store_has_counts_though_its_time_has_gone_back() -> None:
    """As after a rebuild without a user who was erased, or where a Redis was put back."""
    source, before = TrendingSource(ItemRows(), ServingSettings()), statistics("i0", 3)
    source.update([before])
    source.update([replace(statistics("i0", 2), timestamp=before.timestamp - 1)])
    found = source.worth(np.arange(1), NOW - timedelta(hours=1))
    np.testing.assert_allclose(found[:, 1], [2], rtol=1e-5)


@given(counts=COUNTS, event_type=st.from_regex(r"\A[a-z][a-z0-9_-]{0,31}\Z"))
def test_a_type_that_is_not_named_counts_one_and_one_of_weight_0_nothing(
    counts: list[int], event_type: str
) -> None:
    def worth(name: str, weights: dict[str, float]) -> list[list[float]]:
        settings = ServingSettings(trending_weights={"other": 7.0, **weights})
        source = TrendingSource(ItemRows(), settings)
        source.update([statistics(*pair, name) for pair in zip(ITEMS, counts, strict=True)])
        rows = np.arange(len(ITEMS))
        found = source.propose(context([True] * len(ITEMS)), len(ITEMS))
        assert set(found.rows.tolist()) == set(np.flatnonzero(source.score_of(rows, NOW)).tolist())
        return source.worth(rows, NOW).tolist()

    if event_type != "other":
        assert worth(event_type, {}) == worth("view", {"view": 1.0})
    assert not np.any(worth(event_type, {event_type: 0.0}))


def test_what_is_more_than_usual_counts_for_more_by_the_lift() -> None:
    """i0 is as popular as ever; i1 has had all of its few events today."""
    moment, hour = microseconds(NOW), (0.0,)
    usual = ItemStatistics("i0", moment, ("view",), hour, (10.0,), (70.0,))
    risen = ItemStatistics("i1", moment, ("view",), hour, (4.0,), (4.0,))

    def scores(lift: float) -> list[float]:
        source = TrendingSource(ItemRows(), ServingSettings(trending_lift=lift))
        source.update([usual, risen])
        found = source.propose(context([True] * 3), 3)
        by_row = dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True))
        assert found.rows.tolist() == sorted(by_row, key=lambda row: -by_row[row])
        assert source.score_of(np.array([2]), NOW).tolist() == [0.0]
        return [by_row[0], by_row[1]]

    assert scores(0.0) == pytest.approx([10.0, 4.0])
    assert scores(0.5) == pytest.approx([10.0, 4.0 * 7**0.5])
    assert scores(1.0) == pytest.approx([10.0, 28.0])
    later = TrendingSource(ItemRows(), ServingSettings(trending_lift=1.0))
    later.update([usual, risen])
    # The order stays while nothing happens, and so does what it says of them beside each other.
    now, then = (later.score_of(np.array([0, 1]), NOW + timedelta(days=n)) for n in (0, 3))
    assert then[1] / then[0] == pytest.approx(now[1] / now[0], rel=1e-4)
