"""Candidates are alike by who likes them, and by what their texts say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.item_rows import ItemRows
from serving.reranking.likeness import TEXT_SHARE, Likeness
from serving.signals.item_neighbours import ItemNeighbours, NeighbourTable


def texts_of(cosines: np.ndarray, rows: ItemRows) -> ItemNeighbours:
    """A table of all cosines but those of an item with itself."""
    count = len(cosines)
    neighbours = np.array([[j for j in range(count) if j != i] for i in range(count)])
    weights = np.take_along_axis(cosines, neighbours, axis=1)
    table = NeighbourTable(
        np.arange(count + 1, dtype=np.int64) * (count - 1),
        neighbours.ravel().astype(np.int32),
        weights.ravel().astype(np.float32),
        days=30.0,
    )
    return ItemNeighbours(table, np.arange(count), rows)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([1, 4, 31, 32, 33]))
def test_it_is_a_mixture_of_both_cosines_and_1_of_an_item_with_itself(
    seed: int, size: int, dimension: int
) -> None:
    random = np.random.default_rng(seed)
    tastes, texts = (
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        for vectors in random.normal(size=(2, 8, dimension))
    )
    rows = ItemRows(f"i{number}" for number in range(8))
    candidates = random.permutation(8)[:size]
    likeness = Likeness(tastes[candidates], candidates, texts_of(texts @ texts.T, rows))
    by_taste, by_text = tastes @ tastes.T, texts @ texts.T
    for place, row in enumerate(candidates.tolist()):
        expected = (1 - TEXT_SHARE) * by_taste[row] + TEXT_SHARE * by_text[row]
        found = likeness.to(place)
        np.testing.assert_allclose(found, expected[candidates], atol=1e-5)
        assert found[place] == pytest.approx(1.0, abs=1e-5)


def test_what_came_after_the_bundle_is_like_others_by_taste_alone() -> None:
    rows = ItemRows(["old", "other"])
    table = texts_of(np.ones((2, 2)), rows)
    rows.add(["new"])
    tastes = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    likeness = Likeness(tastes, np.array([2, 0, 1]), table)
    assert likeness.to(0).tolist() == pytest.approx([1, 0, 1 - TEXT_SHARE])
    assert likeness.to(1).tolist() == pytest.approx([0, 1, TEXT_SHARE])
