"""An index that changes a lot builds its tree again by itself, while it is searched."""

import threading
from typing import Any

import numpy as np
import pytest

from serving import scann_index
from serving.exact_index import Embeddings, ExactIndex
from serving.scann_index import REBUILD_SHARE, ScannIndex

DIMENSION = 16
COUNT = 3_000
CENTRES = np.random.default_rng(0).normal(size=(200, DIMENSION))


def points(count: int, seed: int, centres: slice) -> Embeddings:
    """Return unit vectors around some of the centres, float32 [count, DIMENSION]."""
    random = np.random.default_rng(seed)
    drawn = random.choice(CENTRES[centres], count) + 0.5 * random.normal(size=(count, DIMENSION))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return np.asarray(drawn, np.float32)


def rebuild_of(index: ScannIndex) -> threading.Thread | None:
    return index._rebuild


def recall_of(index: ScannIndex, table: ExactIndex) -> float:
    queries = points(200, 9, slice(None))
    truth, found = table.search(queries, 10).rows, index.search(queries, 10).rows
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))


def test_churn_alone_has_the_tree_built_again_beside_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_build = threading.Event()
    make_searcher = scann_index._make_searcher

    def make_later(*candidates: Any) -> tuple[Any, int]:
        assert may_build.wait(60)
        return make_searcher(*candidates)

    ids = [f"i{number}" for number in range(COUNT)]
    old, new = slice(0, 100), slice(100, 200)
    table = ExactIndex(DIMENSION)
    table.upsert(ids, points(COUNT, 1, old))
    index = ScannIndex(table)
    first = index._searcher
    monkeypatch.setattr(scann_index, "_make_searcher", make_later)

    share = round(REBUILD_SHARE * COUNT)
    moved = points(share, 2, new)
    index.upsert(ids[:share], moved)
    assert rebuild_of(index) is None
    index.upsert(ids[-1:], points(1, 3, new))
    rebuild = rebuild_of(index)
    assert rebuild is not None
    # Meanwhile the first tree answers, and what changes now is in the second as well.
    index.upsert(["late"], moved[:1])
    index.delete(ids[:1])
    assert recall_of(index, table) >= 0.99
    assert index._searcher is first
    may_build.set()
    rebuild.join(60)
    assert index._searcher is not first
    assert recall_of(index, table) >= 0.99
    found = index.search(moved[:1], 10).rows[0]
    np.testing.assert_array_equal(found[:1], table.rows.rows_of(["late"]))
    assert table.rows.rows_of(ids[:1])[0] not in found


def test_what_changes_while_the_tree_is_built_is_never_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the first moment of the new tree neither."""
    ids = [f"i{number}" for number in range(COUNT)]
    table, before = ExactIndex(DIMENSION), points(COUNT, 1, slice(None))
    table.upsert(ids, before)
    index, rows = ScannIndex(table), table.rows.rows_of(ids)
    make_searcher, swap = scann_index._make_searcher, ScannIndex._swap
    nearest: list[Any] = []

    def make_meanwhile(*candidates: Any) -> tuple[Any, int]:
        made = make_searcher(*candidates)
        index.upsert(ids[:1], -before[:1])
        index.delete(ids[1:2])
        return made

    def swap_and_search(swapped: ScannIndex, *built: Any) -> None:
        swap(swapped, *built)
        nearest.extend(swapped.search(before[:3], 1).rows[:, 0])

    monkeypatch.setattr(scann_index, "_make_searcher", make_meanwhile)
    monkeypatch.setattr(ScannIndex, "_swap", swap_and_search)
    index.rebalance()
    assert (nearest == rows[:3]).tolist() == [False, False, True]
