"""The metrics against trec_eval, against brute force over orders of the tied, and their laws."""

from itertools import permutations
from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ir_measures import RR, P, R, Success, nDCG
from scipy import sparse
from scipy.stats import mannwhitneyu

from trainer import metrics

NOTHING = np.zeros(0, dtype=np.int64)

Question = tuple[np.ndarray, np.ndarray, np.ndarray]
METRICS = (metrics.ndcg, metrics.recall, metrics.precision, metrics.f1, metrics.hit_rate)


@st.composite
def questions(draw: Any, max_items: int = 30, levels: int | None = None) -> Question:
    """Scores, relevant and excluded items; `levels` distinct scores, or all distinct."""
    n = draw(st.integers(2, max_items))
    if levels is None:
        scores = draw(st.permutations(range(n)))
    else:
        scores = draw(st.lists(st.integers(0, levels - 1), min_size=n, max_size=n))
    roles = draw(st.lists(st.sampled_from("RE--"), min_size=n, max_size=n))
    assume("R" in roles)
    role = np.array(roles)
    return (
        np.array(scores, dtype=np.float32),
        np.flatnonzero(role == "R"),
        np.flatnonzero(role == "E"),
    )


@given(st.lists(questions(), min_size=1, max_size=5), st.integers(1, 12))
def test_metrics_agree_with_trec_eval(asked: list[Question], k: int) -> None:
    qrels, run = {}, {}
    for user, (scores, relevant, excluded) in enumerate(asked):
        qrels[str(user)] = {str(item): 1 for item in relevant}
        kept = np.setdiff1d(np.arange(len(scores)), excluded)
        run[str(user)] = {str(item): float(scores[item]) for item in kept}
    measures = [nDCG @ k, P @ k, R @ k, Success @ k, RR]
    published: dict[tuple[str, str], float] = {
        (value.query_id, str(value.measure)): value.value
        for value in ir_measures.iter_calc(measures, qrels, run)
    }
    for user, (scores, relevant, excluded) in enumerate(asked):
        ranked = metrics.rank_relevant(scores, relevant, excluded)
        expected = {str(measure): published[str(user), str(measure)] for measure in measures}
        precision, plain_recall = expected[str(P @ k)], expected[str(R @ k)]
        share = len(relevant) / min(k, len(relevant))
        total = precision + plain_recall
        f1 = 2 * precision * plain_recall / total if total else 0.0
        assert metrics.ndcg(ranked, k) == pytest.approx(expected[str(nDCG @ k)])
        assert metrics.precision(ranked, k) == pytest.approx(precision)
        assert metrics.recall(ranked, k) == pytest.approx(plain_recall * share)
        assert metrics.f1(ranked, k) == pytest.approx(f1)
        assert metrics.hit_rate(ranked, k) == expected[str(Success @ k)]
        assert metrics.reciprocal_rank(ranked) == pytest.approx(expected[str(RR)])


@given(questions(levels=4))
def test_auc_is_the_probability_of_mann_and_whitney(asked: Question) -> None:
    scores, relevant, excluded = asked
    others = np.setdiff1d(np.arange(len(scores)), np.concatenate([relevant, excluded]))
    auc = metrics.auc(metrics.rank_relevant(scores, relevant, excluded))
    if len(others) == 0:
        assert auc == 1
        return
    wins = mannwhitneyu(scores[relevant], scores[others]).statistic
    assert auc == pytest.approx(wins / (len(relevant) * len(others)))


@given(questions(max_items=6, levels=3))
def test_ranks_are_means_over_all_orders_of_the_tied(asked: Question) -> None:
    scores, relevant, excluded = asked
    kept = np.setdiff1d(np.arange(len(scores)), excluded)
    orders = [
        np.flatnonzero(np.isin(order, relevant)) + 1
        for order in map(list, permutations(kept))
        if all(np.diff(scores[order]) <= 0)
    ]
    ranked = metrics.rank_relevant(scores, relevant, excluded)
    np.testing.assert_allclose(ranked.ranks, np.mean(orders, axis=0))
    assert ranked.num_candidates == len(kept)


@given(questions(levels=5), st.integers(1, 12), st.randoms())
def test_the_order_of_the_catalogue_does_not_count(asked: Question, k: int, random: Any) -> None:
    scores, relevant, excluded = asked
    place = np.array(random.sample(range(len(scores)), len(scores)))
    moved = np.empty_like(scores)
    moved[place] = scores
    before = metrics.rank_relevant(scores, relevant, excluded)
    after = metrics.rank_relevant(moved, place[relevant], place[excluded])
    np.testing.assert_array_equal(before.ranks, after.ranks)


@given(questions(levels=5), st.integers(1, 12))
def test_metrics_stay_within_their_bounds(asked: Question, k: int) -> None:
    ranked = metrics.rank_relevant(*asked)
    values = [metric(ranked, k) for metric in METRICS]
    values += [metrics.reciprocal_rank(ranked), metrics.auc(ranked)]
    assert all(0 <= value <= 1 + 1e-9 for value in values)


@given(questions(), st.integers(1, 12))
def test_a_perfect_ranking_scores_one(asked: Question, k: int) -> None:
    _, relevant, excluded = asked
    scores = np.zeros(len(asked[0]), dtype=np.float32)
    scores[relevant] = 1
    ranked = metrics.rank_relevant(scores, relevant, excluded)
    assert metrics.ndcg(ranked, k) == pytest.approx(1)
    assert metrics.recall(ranked, k) == 1
    assert metrics.hit_rate(ranked, k) == 1
    assert metrics.reciprocal_rank(ranked) == 1
    assert metrics.auc(ranked) == 1


@given(questions(), st.integers(1, 12))
def test_raising_a_relevant_item_never_lowers_a_metric(asked: Question, k: int) -> None:
    scores, relevant, excluded = asked
    raised = scores.copy()
    raised[relevant[0]] += 2.5
    before = metrics.rank_relevant(scores, relevant, excluded)
    after = metrics.rank_relevant(raised, relevant, excluded)
    assert all(metric(after, k) >= metric(before, k) - 1e-9 for metric in METRICS)
    assert metrics.reciprocal_rank(after) >= metrics.reciprocal_rank(before) - 1e-9
    assert metrics.auc(after) >= metrics.auc(before) - 1e-9


@given(questions(), st.floats(0.25, 4), st.integers(-100, 100))
def test_only_the_order_of_scores_counts(asked: Question, scale: float, shift: int) -> None:
    scores, relevant, excluded = asked
    other = (scores * np.float32(scale) + np.float32(shift)).astype(np.float32)
    np.testing.assert_array_equal(
        metrics.rank_relevant(scores, relevant, excluded).ranks,
        metrics.rank_relevant(other, relevant, excluded).ranks,
    )


@given(st.integers(2, 50), st.integers(0, 49))
def test_one_score_for_all_is_as_good_as_chance(num_items: int, item: int) -> None:
    item %= num_items
    scores = np.ones(num_items, dtype=np.float32)
    ranked = metrics.rank_relevant(scores, np.array([item]), NOTHING)
    assert ranked.ranks.tolist() == [(num_items + 1) / 2]
    assert metrics.auc(ranked) == pytest.approx(0.5)


def test_a_tie_over_the_edge_counts_while_fewer_than_k_stand_above() -> None:
    scores = np.array([3, 2, 2, 1], dtype=np.float32)
    ranked = metrics.rank_relevant(scores, np.array([2]), NOTHING)
    assert ranked.ranks.tolist() == [2.5]
    assert [metrics.hit_rate(ranked, k) for k in (1, 2, 3)] == [0, 1, 1]


def test_what_cannot_be_ranked_is_refused() -> None:
    scores = np.array([1, np.nan], dtype=np.float32)
    one = np.array([0])
    with pytest.raises(ValueError, match="Received: NaN"):
        metrics.rank_relevant(scores, one, NOTHING)
    with pytest.raises(ValueError, match="must not share"):
        metrics.rank_relevant(np.ones(2, np.float32), one, one)
    with pytest.raises(ValueError, match="Received: none"):
        metrics.rank_relevant(np.ones(2, np.float32), NOTHING, one)


@given(questions(levels=8), st.integers(1, 40))
def test_top_k_is_the_head_of_a_sort(asked: Question, k: int) -> None:
    scores, _, excluded = asked
    scores[excluded] = -np.inf
    (best,) = metrics.top_k(scores[None], k)
    assert len(best) == min(k, len(scores))
    shown = best[best != metrics.NOBODY]
    assert len(set(shown.tolist())) == len(shown) == min(k, len(scores) - len(excluded))
    np.testing.assert_array_equal(scores[shown], np.sort(scores)[::-1][: len(shown)])


LISTS = st.lists(
    st.lists(st.integers(0, 7), min_size=3, max_size=3, unique=True), min_size=1, max_size=6
).map(np.array)


@given(LISTS)
def test_gini_is_half_the_mean_difference_of_exposures(lists: np.ndarray) -> None:
    exposure = np.bincount(lists.ravel(), minlength=8)
    differences = np.abs(exposure[:, None] - exposure[None]).mean()
    assert metrics.gini(lists, 8) == pytest.approx(differences / (2 * exposure.mean()))
    assert metrics.coverage(lists, 8) == (exposure > 0).mean()


@given(LISTS, st.integers(0, 2**32 - 1))
def test_diversity_is_the_mean_distance_of_pairs(lists: np.ndarray, seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(8, 4)).astype(np.float32)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = [
        1 - directions[a] @ directions[b] for row in lists for a, b in permutations(row.tolist(), 2)
    ]
    assert metrics.intra_list_diversity(lists, features) == pytest.approx(
        np.mean(distances), abs=1e-5
    )


def test_the_ends_of_the_scales_of_lists() -> None:
    everyone_the_same = np.zeros((5, 1), dtype=np.int64)
    assert metrics.gini(everyone_the_same, 100) == pytest.approx(0.99)
    assert metrics.gini(np.arange(100)[:, None], 100) == pytest.approx(0)
    assert metrics.coverage(np.arange(100)[:, None], 100) == 1
    alike = np.ones((3, 2), dtype=np.float32)
    assert metrics.intra_list_diversity(np.array([[0, 1, 2]]), alike) == pytest.approx(0, abs=1e-6)
    orthogonal = np.eye(3, dtype=np.float32)
    assert metrics.intra_list_diversity(np.array([[0, 1, 2]]), orthogonal) == pytest.approx(1)


def test_places_that_nobody_fills_do_not_count() -> None:
    lists = np.array([[0, 1, metrics.NOBODY], [2, metrics.NOBODY, metrics.NOBODY]])
    assert metrics.coverage(lists, 6) == 0.5
    assert metrics.gini(lists, 3) == pytest.approx(0)
    assert metrics.intra_list_diversity(lists, np.eye(6, dtype=np.float32)) == pytest.approx(1)
    empty = np.full((2, 3), metrics.NOBODY)
    assert metrics.gini(empty, 3) == 0
    assert metrics.intra_list_diversity(empty, np.eye(3, dtype=np.float32)) == 0


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = metrics.mean_interval(random.exponential(size=100).tolist(), random)
        covered += low <= 1 <= high
    assert 0.88 <= covered / 200 <= 0.99


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.integers(0, 9))
def test_an_interval_lies_among_the_values_and_is_that_of_its_seed(
    values: list[float], seed: int
) -> None:
    low, high = metrics.mean_interval(values, np.random.default_rng(seed))
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert (low, high) == metrics.mean_interval(values, np.random.default_rng(seed))


def test_one_user_has_no_spread_and_nobody_no_mean() -> None:
    random = np.random.default_rng(0)
    assert metrics.mean_interval([0.5], random) == (0.5, 0.5)
    assert np.isnan(metrics.mean_interval([], random)).all()


def test_the_labels_of_a_list_are_counted_once() -> None:
    labels = sparse.csr_array(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32))
    assert metrics.labels_per_list(np.array([[0, 1], [1, metrics.NOBODY]]), labels) == 1.5
    assert metrics.labels_per_list(np.array([[0, 1, 2]]), labels) == 3
    assert metrics.labels_per_list(np.empty((0, 3), np.int64), labels) == 0
