"""What trends, whether the kept head of the list answers or all rows are looked at."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.online_features import ItemStatistics
from feature_repo.schema import microseconds
from serving.item_rows import ItemRows
from serving.settings import ServingSettings
from serving.sources import trending
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource
from tests.support.stream import NOW

ITEMS = [f"i{number}" for number in range(30)]
COUNTS = st.lists(st.integers(0, 5), min_size=30, max_size=30)
MASKS = st.lists(st.booleans(), min_size=20, max_size=30)


def statistics(item_id: str, views: int) -> ItemStatistics:
    moment = microseconds(NOW - timedelta(hours=1))
    counts = (float(views),)
    return ItemStatistics(item_id, moment, ("view",), counts, counts, counts)


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
