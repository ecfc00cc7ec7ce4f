"""A ranker's score is of all that may be done with an item, by what each is worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ranking.ranker import OTHERS, DenseLayer, Ranker

OBJECTIVES = {"purchase": 5.0, "view": 1.0, OTHERS: 2.0}
WORTH = st.floats(0.001, 1_000.0)
LOGARITHMS = st.lists(
    st.lists(st.floats(-500, 500, width=32), min_size=3, max_size=3), min_size=1, max_size=5
)


def saying(objectives: dict[str, float] | None = None, units: int = 3) -> Ranker:
    """Return a ranker whose units are its features, which say how probable what is, times worth."""
    layer = DenseLayer(np.eye(units, dtype=np.float32), np.zeros(units, np.float32))
    return Ranker((), [layer], objectives)


@given(LOGARITHMS, st.dictionaries(st.sampled_from([*OBJECTIVES, "never heard of"]), WORTH))
def test_a_score_is_the_logarithm_of_what_is_probable_by_its_worth(
    rows: list[list[float]], weights: dict[str, float]
) -> None:
    units = np.array(rows, np.float32)
    factors = [weights.get(name, worth) / worth for name, worth in OBJECTIVES.items()]
    expected = np.logaddexp.reduce(units.astype(np.float64) + np.log(factors), axis=1)
    weighed = saying(OBJECTIVES).weighing(weights)
    np.testing.assert_allclose(weighed.score(units), expected, rtol=1e-4, atol=1e-3)
    assert weighed.objectives == {
        name: weights.get(name, worth) for name, worth in OBJECTIVES.items()
    }


@given(LOGARITHMS)
def test_one_objective_is_the_score_whatever_it_is_worth(rows: list[list[float]]) -> None:
    units = np.array(rows, np.float32)[:, :1]
    for ranker in (saying(units=1), saying(units=1).weighing({"purchase": 7.0})):
        np.testing.assert_array_equal(ranker.score(units), units[:, 0])


def test_no_candidates_have_no_scores() -> None:
    nothing = np.empty((0, 3), np.float32)
    assert saying(OBJECTIVES).score(nothing).shape == (0,)


@pytest.mark.parametrize("weights", [{}, {"view": 1.0}, {"never heard of": 3.0}])
def test_what_weighs_as_it_did_is_the_same_ranker(weights: dict[str, float]) -> None:
    ranker = saying(OBJECTIVES)
    assert ranker.weighing(weights) is ranker
