"""Rows in groups and the best of them are what plain NumPy finds, at less cost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.item_rows import best, grouped

INFINITE = float("inf")


@given(
    st.lists(st.sampled_from([-INFINITE, -1.0, 0.0, 0.5, 2.0, INFINITE]), max_size=40),
    st.integers(-1, 45),
)
def test_the_best_are_the_first_of_a_stable_order(values: list[float], count: int) -> None:
    scores = np.array(values, dtype=np.float32)
    expected = np.argsort(-scores, kind="stable")[: max(count, 0)]
    assert best(scores, count).tolist() == expected.tolist()


@given(st.lists(st.integers(0, 20), max_size=60))
def test_rows_are_grouped_as_numpy_would(values: list[int]) -> None:
    rows = np.array(values, dtype=np.int64)
    order, starts = grouped(rows)
    distinct, counts = np.unique(rows, return_counts=True)
    assert rows[order].tolist() == sorted(values)
    assert sorted(order.tolist()) == list(range(len(rows)))
    assert rows[order[starts]].tolist() == distinct.tolist()
    assert np.diff(starts, append=len(rows)).tolist() == counts.tolist()
