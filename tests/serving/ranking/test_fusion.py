"""Lists that several sources share: a mixture of probabilities, and what it does to a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent
from feature_repo.online_features import CoVisitation
from serving.candidates import Candidates
from serving.item_rows import ItemRows
from serving.ranking.fusion import logarithms, mixed_scores, reciprocal_ranks, shares, votes
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource

DAY = 86_400_000_000
scores = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8).map(
    lambda values: np.array(values, np.float32)
)


@given(scores, st.floats(0, 0.9), st.floats(0.5, 4), st.data())
def test_the_scores_are_those_of_the_mixture(
    own: np.ndarray, weight: float, temperature: float, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.floats(0.01, 1), min_size=len(own), max_size=len(own)))
    said = np.array(drawn) / sum(drawn)
    probabilities = np.exp((own - own.max().astype(np.float64)) / temperature)
    probabilities /= probabilities.sum()
    mixed = (1 - weight) * probabilities + weight * said
    rows = np.arange(len(own))
    proposals = {"ease": Candidates(rows, 7 * said.astype(np.float32))}
    columns = shares(rows, proposals, ("two_tower", "ease"))
    assert columns.sum(axis=0).tolist() == pytest.approx([0.0, 1.0])
    weights = np.array([1 - weight, weight])
    fused = mixed_scores(columns, weights, own, temperature).astype(np.float64)
    normalised = np.exp(fused - fused.max())
    assert normalised / normalised.sum() == pytest.approx(mixed, rel=1e-3, abs=1e-5)


@given(scores)
def test_without_other_sources_the_scores_stay(own: np.ndarray) -> None:
    """Whatever weights those have that say nothing, or are not asked."""
    rows, sources = np.arange(len(own)), ("two_tower", "ease", "text")
    columns = shares(rows, {"ease": Candidates(rows[:0], own[:0])}, sources)
    weights = np.array([0.2, 0.5, 0.3])
    assert mixed_scores(columns, weights, own, 1.0) == pytest.approx(own, abs=1e-4)
    assert mixed_scores(columns, weights, own, 2.0) == pytest.approx(own / 2, abs=1e-4)


def test_shares_stand_where_the_pool_has_the_row() -> None:
    pool = np.array([2, 5, 7])
    proposals = {
        "ease": Candidates(np.array([7, 9, 2]), np.array([3.0, 5.0, 1.0], np.float32)),
        "category": Candidates(np.array([5, 2]), np.full(2, 6.0, np.float32)),
        "text": Candidates(np.array([1]), np.ones(1, np.float32)),
    }
    columns = shares(pool, proposals, ("ease", "category", "two_tower", "text"))
    assert columns[:, 0].tolist() == [0.25, 0.0, 0.75]
    assert columns[:, 1].tolist() == [0.5, 0.5, 0.0]
    # Of what "text" proposes the pool has nothing.
    assert not columns[:, 2:].any()


def test_ranks_and_votes_are_summed_by_weight() -> None:
    pool, ones = np.array([2, 5, 7]), np.ones(2, np.float32)
    proposals = {
        "two_tower": Candidates(np.array([5, 2]), ones),
        "ease": Candidates(np.array([7, 5]), ones),
    }
    sources, weights = ("two_tower", "ease", "text"), np.array([1.0, 0.5, 0.9])
    by_rank = reciprocal_ranks(pool, proposals, sources) @ weights
    assert by_rank == pytest.approx([1 / 62, 1 / 61 + 0.5 / 62, 0.5 / 61])
    by_votes = votes(pool, proposals, sources) @ weights
    assert by_votes == pytest.approx([1.0, 1.5, 0.5], abs=1e-4)
    assert np.isfinite(logarithms(np.zeros(1))).all()


def test_weights_leave_the_model_a_share() -> None:
    with pytest.raises(ValueError, match=r"must sum to less than 1\. Received: 1\.1"):
        RankingSettings(weights={"trending": 0.5, "co_visitation": 0.6})


def test_neighbours_are_weighed_by_how_new_the_event_is() -> None:
    rows = ItemRows(["old", "new", "of-old", "of-new"])
    source = CoVisitationSource(rows, ServingSettings(co_visitation_days=1.0))
    source.update(
        [
            CoVisitation("old", 0, ("of-old", "new"), (3.0, 1.0)),
            CoVisitation("new", 0, ("of-new",), (8.0,)),
        ]
    )
    events = tuple(
        HistoryEvent(day * DAY, item, item, "view", 0.0) for day, item in ((1, "old"), (2, "new"))
    )
    found = source.neighbours_of(events)
    shares = dict(zip(rows.ids_of(found.rows).tolist(), found.scores.tolist(), strict=True))
    newest = 1 / (1 + np.exp(-1))
    assert shares == pytest.approx(
        {"of-new": newest, "of-old": 0.75 * (1 - newest), "new": 0.25 * (1 - newest)}
    )
    source.update([CoVisitation("new", 0, (), ())])
    assert "of-new" not in rows.ids_of(source.neighbours_of(events).rows).tolist()
