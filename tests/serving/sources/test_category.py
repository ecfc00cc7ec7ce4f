"""What trends in the user's categories is found, however little trends there."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.online_features import ItemStatistics
from feature_repo.schema import Item
from feature_repo.times import microseconds
from serving.catalogue import Catalogue
from serving.settings import ServingSettings
from serving.sources import category, trending
from serving.sources.candidate_source import Context
from serving.sources.category import CategorySource
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs
from tests.support.stream import NOW

NUM_ITEMS = 40
COUNTS = st.lists(st.integers(0, 9), min_size=NUM_ITEMS, max_size=NUM_ITEMS)


class Shop:
    """Items of four categories by their number modulo 4, and what trends among them."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self.catalogue.upsert(
            [Item(item_id=f"i{n}", categories=(f"c{n % 4}",)) for n in range(NUM_ITEMS)]
        )
        self.trending = TrendingSource(self.catalogue.rows, ServingSettings())
        self.source = CategorySource(self.trending)

    def happened(self, counts: list[int]) -> None:
        moment = microseconds(NOW)
        self.trending.update(
            [
                ItemStatistics(f"i{n}", moment, ("view",), (each,), (each,), (each,))
                for n, each in enumerate(map(float, counts))
            ]
        )

    def context(self, acted: list[int]) -> Context:
        view, unused = self.catalogue.view(), None
        model: Any = unused
        context = Context(model, view, view.available, False, None, NOW)
        rows = np.array(acted, np.int64)
        return context.of_user((), UserActs.of_columns(rows, np.zeros(len(rows), np.int64)))


@pytest.fixture(autouse=True)
def _heads_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trending, "HEAD", 10)
    monkeypatch.setattr(category, "ENOUGH", 5)


def test_a_niche_in_which_little_trends_has_its_own_list() -> None:
    shop = Shop()
    # All that trends most is of another category.
    shop.happened([1000 if n % 4 == 0 else n for n in range(NUM_ITEMS)])
    found = shop.source.propose(shop.context([3]), 4)
    assert found.rows.tolist() == [39, 35, 31, 27]
    shop.happened([n == 7 for n in range(NUM_ITEMS)])
    assert shop.source.propose(shop.context([3]), 4).rows.tolist() == [7]
    shop.catalogue.upsert([Item(item_id="i7", categories=("c0",))])
    assert not len(shop.source.propose(shop.context([3]), 4))
    shop.catalogue.upsert([Item(item_id="i7", categories=("c3",), available=False)])
    assert not len(shop.source.propose(shop.context([3]), 4))


@given(
    before=COUNTS,
    after=COUNTS,
    acted=st.lists(st.integers(0, NUM_ITEMS - 1), min_size=1, max_size=4),
    one=st.integers(0, NUM_ITEMS),
    other=st.integers(0, NUM_ITEMS),
)
def test_it_is_what_scores_most_and_more_follow_after_the_same_first(
    before: list[int], after: list[int], acted: list[int], one: int, other: int
) -> None:
    shop = Shop()
    for counts in (before, after):
        shop.happened(counts)
        context = shop.context(acted)
        shorter, longer = (shop.source.propose(context, n) for n in sorted((one, other)))
        assert longer.rows.tolist()[: len(shorter)] == shorter.rows.tolist()
        # Every row that trends in a category of the user's, where not enough are in the head.
        liked = {each % 4 for each in acted}
        head = [row for row in shop.trending.head().tolist() if row % 4 in liked]
        every = [n for n in range(NUM_ITEMS) if n % 4 in liked and counts[n]]
        rows = np.array(head if len(head) >= category.ENOUGH else every, np.int64)
        best = sorted(context_scores(shop, context, rows), reverse=True)[: len(longer)]
        assert len(longer) == min(max(one, other), len(rows))
        np.testing.assert_allclose(longer.scores, best, rtol=1e-6)


def context_scores(shop: Shop, context: Context, rows: np.ndarray) -> list[float]:
    worth = shop.trending.score_of(rows, context.at)
    return (worth * context.taste.category_shares(context.view, rows)).tolist()
