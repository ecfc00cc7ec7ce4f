"""What the index finds is completed by exact scores only where little of it may be shown."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidate_index import Neighbours
from serving.candidate_space import CandidateSpace
from serving.exact_index import Embeddings, ExactIndex
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.two_tower import TwoTowerSource
from tests.support.tiny_recommender import NOW

NUM_ITEMS, DIMENSION, POOL = 200, 4, 20
SOURCE = TwoTowerSource(ServingSettings(pool_size=POOL))
unused: Any = None


class Table(ExactIndex):
    """Counts how often all of it is scored."""

    scored = 0

    def score(self, *arguments: Any) -> Any:
        self.scored += 1
        return super().score(*arguments)


class Approximate:
    """Finds what the table finds, and promises nothing."""

    is_exact = False

    def __init__(self, table: ExactIndex) -> None:
        self._table = table

    def search(self, query_embeddings: Embeddings, limit: int) -> Neighbours:
        return self._table.search(query_embeddings, limit)


def context(hidden: list[int]) -> tuple[Context, Table]:
    random = np.random.default_rng(0)
    item_ids = [f"i{number}" for number in range(NUM_ITEMS)]
    table = Table(DIMENSION, ItemRows(item_ids))
    table.upsert(item_ids, random.normal(size=(NUM_ITEMS, DIMENSION)).astype(np.float32))
    index: Any = Approximate(table)
    model = LiveModel(CandidateSpace("", DIMENSION, 1.0, {}), unused, table, index)
    allowed = np.ones(NUM_ITEMS, dtype=np.bool_)
    allowed[hidden] = False
    query = random.normal(size=DIMENSION).astype(np.float32)
    return Context(model, unused, allowed, False, query, NOW), table


@given(st.lists(st.integers(0, NUM_ITEMS - 1), max_size=NUM_ITEMS))
def test_the_nearest_begin_the_whole_list(hidden: list[int]) -> None:
    asked, table = context(hidden)
    nearest = SOURCE.nearest(asked)
    was_completed = table.scored > 0
    every = SOURCE.propose(asked, NUM_ITEMS)
    assert nearest.rows.tolist() == every.rows[: len(nearest)].tolist()
    np.testing.assert_array_equal(nearest.scores, every.scores[: len(nearest)])
    assert asked.allowed[nearest.rows].all()
    if was_completed:
        assert len(nearest) == min(POOL, int(asked.allowed.sum()))
    else:
        assert 2 * len(nearest) >= POOL


@pytest.mark.parametrize(("share", "is_completed"), [(0.0, False), (0.4, False), (0.6, True)])
def test_only_where_most_may_not_be_shown_the_rest_is_scored(
    share: float, is_completed: bool
) -> None:
    asked, _ = context([])
    best = SOURCE.nearest(asked).rows
    asked, table = context(best[: int(share * POOL)].tolist())
    assert len(SOURCE.nearest(asked)) == (POOL if is_completed else (1 - share) * POOL)
    assert (table.scored > 0) == is_completed
