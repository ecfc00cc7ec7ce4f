"""Sums over a sparse table are products with the dense matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.candidates import RowScores
from serving.item_rows import ItemRows
from serving.signals.item_neighbours import ItemNeighbours, NeighbourTable


@given(st.integers(0, 6), st.data())
def test_scores_are_those_of_the_matrix(num_items: int, data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    matrix = random.normal(size=(num_items, num_items)) * (random.random((num_items,) * 2) < 0.5)
    entries = np.argwhere(matrix)
    table = NeighbourTable(
        np.searchsorted(entries[:, 0], np.arange(num_items + 1)).astype(np.int64),
        entries[:, 1].astype(np.int32),
        matrix[matrix != 0].astype(np.float32),
        1.0,
    )
    # The catalogue's rows are others than the bundle's, and some items are in one alone.
    rows = ItemRows(["new", *(f"i{n}" for n in reversed(range(num_items)))])
    candidate_rows = rows.rows_of(f"i{n}" for n in range(num_items))
    neighbours = ItemNeighbours(table, candidate_rows, rows)
    late = int(rows.add(["later"])[0])
    acted = np.array([0, late, *candidate_rows[: num_items // 2]])
    weights = random.random(len(acted)).astype(np.float32)
    found = neighbours.scores(acted, weights)
    expected = weights[2:] @ matrix[: num_items // 2]
    np.testing.assert_allclose(found.of(candidate_rows), expected, atol=1e-5)
    assert not found.of(np.array([0, late])).any()


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(-5, 5, width=32)), max_size=20))
def test_sums_and_lookups_are_those_of_a_dictionary(pairs: list[tuple[int, float]]) -> None:
    rows = np.array([row for row, _ in pairs], dtype=np.int64)
    found = RowScores.summed(rows, np.array([score for _, score in pairs], dtype=np.float32))
    totals: dict[int, float] = {}
    for row, score in pairs:
        totals[row] = totals.get(row, 0.0) + score
    assert found.rows.tolist() == sorted(totals)
    asked = np.arange(-1, 402)
    expected = [totals.get(row, 0.0) for row in asked.tolist()]
    np.testing.assert_allclose(found.of(asked), expected, atol=1e-4)
    allowed = np.arange(300) % 2 == 0
    shown = found.candidates(allowed, 5)
    assert all(row < 300 and row % 2 == 0 and totals[row] > 0 for row in shown.rows.tolist())
    assert (np.diff(shown.scores) <= 0).all()
