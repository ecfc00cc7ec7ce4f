"""Rows in groups are what `numpy.unique` finds, at less cost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.item_rows import grouped


@given(st.lists(st.integers(0, 20), max_size=60))
def test_rows_are_grouped_as_numpy_would(values: list[int]) -> None:
    rows = np.array(values, dtype=np.int64)
    order, starts = grouped(rows)
    distinct, counts = np.unique(rows, return_counts=True)
    assert rows[order].tolist() == sorted(values)
    assert sorted(order.tolist()) == list(range(len(rows)))
    assert rows[order[starts]].tolist() == distinct.tolist()
    assert np.diff(starts, append=len(rows)).tolist() == counts.tolist()
