"""A pool unites what sources propose, and knows who proposed what."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates import Candidates
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows, Rows
from serving.ranking.calibrated_fusion import CalibratedFusion, Fusion, fusion_of
from serving.ranking.pool import Pool
from serving.ranking.ranking_stage import RankingStage
from serving.ranking.settings import BUILT_IN_WEIGHTS, RankingSettings, Weights
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource

ITEMS = [f"i{row}" for row in range(12)]
EMBEDDED = ITEMS[:9]

proposals_ = st.dictionaries(
    st.sampled_from(["ease", "text", "category", "trending"]),
    st.lists(st.integers(0, len(ITEMS) - 1), unique=True),
)


def context() -> Any:
    table = ExactIndex(2, ItemRows(ITEMS))
    table.upsert(EMBEDDED, np.ones((len(EMBEDDED), 2), np.float32))
    return SimpleNamespace(model=SimpleNamespace(table=table))


def proposed(rows: list[int]) -> Candidates:
    def score_of(asked: Rows) -> np.ndarray:
        return (asked * 10).astype(np.float32)

    found = np.array(rows, dtype=np.int64)
    return Candidates(found, score_of(found), score_of)


@given(proposals_)
def test_a_pool_holds_each_proposed_row_once_with_all_who_proposed_it(
    rows_of: dict[str, list[int]],
) -> None:
    proposals = {name: proposed(rows) for name, rows in rows_of.items()}
    pool = Pool.of(proposals, context())
    # What has no embedding yet cannot be compared.
    expected = sorted({row for rows in rows_of.values() for row in rows if row < len(EMBEDDED)})
    assert pool.rows.tolist() == expected
    places = np.arange(len(expected))[::-1]
    assert pool.proposers(places) == [
        tuple(name for name, rows in rows_of.items() if expected[place] in rows)
        for place in places.tolist()
    ]
    assert all(scores.tolist() == [row * 10 for row in expected] for scores in pool.scores.values())


def test_weights_are_those_of_the_model_that_is_asked_and_made_once_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = list[CalibratedFusion | None]()

    def counted(settings: RankingSettings, calibrated: CalibratedFusion | None) -> Fusion:
        made.append(calibrated)
        return fusion_of(settings, calibrated)

    monkeypatch.setattr("serving.ranking.ranking_stage.fusion_of", counted)
    rows, settings = ItemRows(ITEMS), ServingSettings()
    trending, co_visitation = TrendingSource(rows, settings), CoVisitationSource(rows, settings)
    stage = RankingStage(trending, co_visitation, settings)
    weights: list[Weights] = [{"text": 0.4}, {"ease": 0.2, "trending": 0.1}]
    learned = [CalibratedFusion(weights=each) for each in weights]
    models: list[Any] = [
        SimpleNamespace(ranking=SimpleNamespace(fusion=each, ranker=None)) for each in learned
    ]
    models.append(SimpleNamespace(ranking=None))
    for model, known in zip(models, (*weights, BUILT_IN_WEIGHTS), strict=True):
        for _ in range(3):
            asked = {source.name for source in stage._asked(model, None)}
            assert asked == {"two_tower", *known}
    assert made == [None, *learned, None]
