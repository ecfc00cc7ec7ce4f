"""Lists that several sources share: a mixture of probabilities, and what it does to a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.history import HistoryEvent
from feature_repo.online_features import CoVisitation
from serving.fusion import Share, mixed_scores, shares_of
from serving.item_rows import ItemRows
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.sources.co_visitation import CoVisitationSource

DAY = 86_400_000_000
scores = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8).map(
    lambda values: np.array(values, np.float32)
)


@given(scores, st.floats(0, 0.9), st.data())
def test_the_scores_are_those_of_the_mixture(
    own: np.ndarray, weight: float, data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.floats(0.01, 1), min_size=len(own), max_size=len(own)))
    shares = np.array(drawn) / sum(drawn)
    probabilities = np.exp(own - own.max().astype(np.float64))
    probabilities /= probabilities.sum()
    mixed = (1 - weight) * probabilities + weight * shares
    fused = mixed_scores(own, [Share(weight, shares)]).astype(np.float64)
    normalised = np.exp(fused - fused.max())
    assert normalised / normalised.sum() == pytest.approx(mixed, rel=1e-3, abs=1e-5)


@given(scores)
def test_without_other_sources_the_scores_stay(own: np.ndarray) -> None:
    assert mixed_scores(own, []) == pytest.approx(own, abs=1e-4)


def test_shares_stand_where_the_pool_has_the_row() -> None:
    pool = np.array([2, 5, 7])
    shares = shares_of(pool, np.array([7, 9, 2]), np.array([3.0, 5.0, 1.0], np.float32))
    assert shares.tolist() == [0.25, 0.0, 0.75]
    assert not shares_of(pool, np.array([1]), np.array([1.0], np.float32)).any()


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
