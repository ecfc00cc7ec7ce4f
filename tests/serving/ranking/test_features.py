"""What sources say becomes columns that do not depend on how it is computed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.ranking.feature_names import LOGARITHMIC, OF_A_SOURCE
from serving.ranking.features import of_sources

SOURCES = ("two_tower", "ease", "trending")


# Few values, so that many tie.
@given(
    st.integers(0, 8).flatmap(
        lambda n: arrays(np.float32, (len(SOURCES), n), elements=st.sampled_from([0, 0.5, 1, 3, 7]))
    )
)
def test_scores_become_what_they_are_beside_each_other(said: np.ndarray) -> None:
    found = of_sources(dict(zip(SOURCES, said, strict=True)), said.shape[1])
    assert found.shape == (len(SOURCES) * len(OF_A_SOURCE), said.shape[1])
    for number, (name, scores) in enumerate(zip(SOURCES, said.tolist(), strict=True)):
        columns = found[number * len(OF_A_SOURCE) :][: len(OF_A_SOURCE)]
        best, worst = max(scores, default=0), min(scores, default=0)
        absolute = [score - best if name in LOGARITHMIC else score for score in scores]
        relative = [(score - worst) / ((best - worst) or 1) for score in scores]
        ranks = [sum(other > score for other in scores) for score in scores]
        np.testing.assert_array_equal(columns[0], np.array(absolute, np.float32))
        np.testing.assert_array_equal(columns[1], np.array(relative, np.float32))
        np.testing.assert_array_equal(columns[2], np.log1p(ranks).astype(np.float32))


def test_without_sources_there_are_no_columns() -> None:
    assert of_sources({}, 3).shape == (0, 3)
