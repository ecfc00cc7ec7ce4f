"""The retrieval loss against its definition."""

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import numpy as np
import tensorflow as tf

from tests.support.host_memory import computed_on_the_host
from trainer.retrieval import RetrievalLoss, full_softmax_loss


def loss(
    queries: np.ndarray,
    candidates: np.ndarray,
    ids: np.ndarray,
    expected_count: np.ndarray,
    weights: np.ndarray,
) -> float:
    floats = [tf.constant(value, tf.float32) for value in (queries, candidates)]
    rest = [tf.constant(value, tf.float32) for value in (expected_count, weights)]
    return float(RetrievalLoss()(*floats, tf.constant(ids), *rest))


def example() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(4, 8)), random.normal(size=(10, 8)), np.arange(10)


def test_it_is_the_softmax_over_all_items_where_all_are_candidates_once() -> None:
    queries, candidates, ids = example()
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    scores = queries @ candidates.T
    each = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores[:, :4])
    expected = (each * weights).sum() / weights.sum()
    np.testing.assert_allclose(
        loss(queries, candidates, ids, np.ones(10), weights), expected, rtol=1e-5
    )


def test_of_every_item_it_is_the_full_softmax_whatever_the_order_of_the_labels() -> None:
    queries, candidates, ids = example()
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    labels = np.array([7, 0, 9, 0])
    expected = [
        loss(queries[i : i + 1], candidates[order], ids[order], np.ones(10), np.ones(1))
        for i, label in enumerate(labels)
        for order in [np.roll(ids, -label)]
    ]
    floats = [tf.constant(value, tf.float32) for value in (queries, candidates)]
    full = full_softmax_loss(*floats, tf.constant(labels), tf.constant(weights, tf.float32))
    np.testing.assert_allclose(float(full), np.average(expected, weights=weights), rtol=1e-5)


def test_a_candidate_listed_twice_as_often_weighs_half() -> None:
    queries, candidates, ids = example()
    once = loss(queries, candidates, ids, np.ones(10), np.ones(4))
    # Items 4..9 twice, each expected twice; ids differ from the positives, so nothing is removed.
    twice = np.concatenate([candidates, candidates[4:]])
    counts = np.concatenate([np.ones(4), np.full(12, 2.0)])
    ids = np.concatenate([ids, ids[4:]])
    np.testing.assert_allclose(loss(queries, twice, ids, counts, np.ones(4)), once, rtol=1e-5)


def test_a_rare_candidate_counts_in_full_beside_many_frequent_ones() -> None:
    queries, candidates, _ = example()
    # As in a catalogue of 100,000 items of which one makes most labels.
    frequent = np.repeat(candidates[:1], 1_000, axis=0)
    listed = np.concatenate([frequent, candidates[1:]])
    ids = np.concatenate([np.zeros(1_000, np.int64), np.arange(1, 10)])
    counts = np.concatenate([np.full(1_000, 1_000.0), np.full(9, 0.04)])
    scores = listed @ queries[0] - np.log(counts)
    scores[1:1_000] = -np.inf  # the query's own positive
    scores[0] = candidates[0] @ queries[0]  # once, and not corrected
    expected = np.log(np.exp(scores).sum()) - candidates[0] @ queries[0]
    np.testing.assert_allclose(
        loss(queries[:1], listed, ids, counts, np.ones(1)), expected, rtol=1e-5
    )


def test_the_positive_counts_once_however_often_it_is_expected() -> None:
    queries, candidates, ids = example()
    once = loss(queries[:1], candidates, ids, np.ones(10), np.ones(1))
    for often in (0.01, 100.0):
        counts = np.concatenate([[often], np.ones(9)])
        np.testing.assert_allclose(
            loss(queries[:1], candidates, ids, counts, np.ones(1)), once, rtol=1e-4
        )


def test_a_negative_that_is_the_positive_is_removed() -> None:
    queries, candidates, ids = example()
    # With one query, its positive once more among the negatives changes nothing.
    without = loss(queries[:1], candidates, ids, np.ones(10), np.ones(1))
    again = np.concatenate([candidates, candidates[:1]])
    ids = np.concatenate([ids, ids[:1]])
    np.testing.assert_allclose(
        loss(queries[:1], again, ids, np.ones(11), np.ones(1)), without, rtol=1e-5
    )


def test_no_matrix_of_queries_by_candidates_is_computed_beside_a_gpu() -> None:
    vectors = tf.TensorSpec([None, 8], tf.float32)
    ids, counts = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
    retrieval = RetrievalLoss()
    traced = retrieval.__call__.get_concrete_function(vectors, vectors, ids, counts, counts)
    assert computed_on_the_host(traced.graph, rank=2) == []
    full = tf.function(full_softmax_loss).get_concrete_function(vectors, vectors, ids, counts)
    assert computed_on_the_host(full.graph, rank=2) == []
