"""An item moves toward those who act on it, little where it is known well, and in any order."""

from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.candidate_space import CandidateSpace
from streaming.fold_in import DECAY, FoldIn, add, merge, moved, nothing
from streaming.settings import FoldInSettings

START = 1_700_000_000_000_000
SPACE = CandidateSpace("v1", 3, 2.0, {"known": 1_000})
SETTINGS = FoldInSettings(prior=4.0, trained_prior=1.0)
NORTH, EAST = np.array([0, 1, 0], np.float32), np.array([1, 0, 0], np.float32)

acts = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.floats(0.1, 3), st.integers(0, 3 * DECAY)), max_size=20
)


def summed(rows: list[tuple[int, float, int]]) -> FoldIn:
    sums = nothing("i", "v1", 3)
    for direction, weight, offset in rows:
        sums = add(sums, (NORTH, EAST)[direction], weight, START + offset)
    return sums


def close(left: FoldIn, right: FoldIn) -> None:
    assert (left.item_id, left.bundle_version) == (right.item_id, right.bundle_version)
    assert left.timestamp == right.timestamp
    assert left.weight == pytest.approx(right.weight)
    np.testing.assert_allclose(left.vector, right.vector, rtol=1e-9, atol=1e-12)


@given(acts, st.randoms())
def test_the_order_of_arrival_changes_nothing(
    rows: list[tuple[int, float, int]], random: Any
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    close(summed(shuffled), summed(rows))


@given(acts, acts)
def test_partitions_add_up(left: Any, right: Any) -> None:
    if left and right:
        close(merge(summed(left), summed(right)), summed(left + right))


@given(acts)
def test_an_item_stays_between_where_it_began_and_its_users(rows: Any) -> None:
    start = np.array([[1.0, 1.0, 0.0, 7.0]], np.float32)
    (end,) = moved(start, ["i"], {"i": summed(rows)}, SPACE, SETTINGS)
    corners = np.stack([start[0, :3], 2 * NORTH, 2 * EAST])
    assert (end[:3] >= corners.min(axis=0) - 1e-6).all()
    assert (end[:3] <= corners.max(axis=0) + 1e-6).all()
    assert end[3] == 7.0  # popularity


def test_a_new_item_moves_far_and_a_known_one_hardly() -> None:
    start = np.zeros((2, 4), np.float32)
    sums = {item_id: add(nothing(item_id, "v1", 3), NORTH, 4.0, START // DECAY * DECAY)
            for item_id in ("new", "known")}  # fmt: skip
    new, known = moved(start, ["new", "known"], sums, SPACE, SETTINGS)
    assert new[:3] == pytest.approx(NORTH)
    assert np.linalg.norm(known) < 0.01


def test_sums_of_another_bundle_move_nothing() -> None:
    start = np.ones((1, 4), np.float32)
    sums = add(nothing("i", "v0", 3), NORTH, 4.0, START)
    assert (moved(start, ["i"], {"i": sums}, SPACE, SETTINGS) == start).all()


@given(st.lists(st.tuples(st.sampled_from(["v0", "v1", "v2"]), acts), min_size=1, max_size=6))
def test_a_space_gets_its_own_sums_whatever_other_partitions_have(
    parts: list[tuple[str, Any]],
) -> None:
    sums = [replace(summed(rows), bundle_version=version) for version, rows in parts]
    own = [each for each in sums if each.bundle_version == "v1"]
    start = np.ones((1, 4), np.float32)
    (alone,) = moved(start, ["i"], {"i": reduce(merge, own)} if own else {}, SPACE, SETTINGS)
    for order in (sums, sums[::-1]):
        (among,) = moved(start, ["i"], {"i": reduce(merge, order)}, SPACE, SETTINGS)
        np.testing.assert_allclose(among, alone, rtol=1e-5)


def test_two_items_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"must be of item 'i'\. Received: 'j'"):
        merge(nothing("i", "v1", 3), nothing("j", "v1", 3))
