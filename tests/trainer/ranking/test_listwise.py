"""The softmax over a request's candidates, and what stands for those that were left out."""

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from trainer.ranking.listwise import softmax_loss


def loss_of(
    scores: list[float], labels: list[float], weights: list[float], requests: list[int]
) -> float:
    columns = [tf.constant(column, tf.float32) for column in (scores, labels, weights)]
    return float(softmax_loss(*columns, tf.constant(requests)))


def test_the_loss_is_the_cross_entropy_of_each_request() -> None:
    scores, labels = [2.0, 0.0, -1.0, 50.0, 51.0], [0.0, 1.0, 0.0, 1.0, 0.0]
    first = np.log(np.exp([2.0, 0.0, -1.0]).sum())
    second = np.log(1 + np.e)
    found = loss_of(scores, labels, [1.0] * 5, [0, 0, 0, 1, 1])
    assert found == pytest.approx((first + second) / 2, rel=1e-5)
    # By what a request weighs.
    found = loss_of(scores, labels, [3.0] * 3 + [1.0] * 2, [0, 0, 0, 1, 1])
    assert found == pytest.approx((3 * first + second) / 4, rel=1e-5)


def test_labels_count_in_proportion() -> None:
    halves = loss_of([1.0, 3.0, 0.0], [0.2, 0.2, 0.0], [1.0] * 3, [0, 0, 0])
    assert halves == pytest.approx(np.log(np.exp([1.0, 3.0, 0.0]).sum()) - 2.0, rel=1e-5)


def test_one_candidate_stands_for_others_of_its_score() -> None:
    all_of_them = loss_of([1.0, *[0.5] * 6], [1.0, *[0.0] * 6], [2.0] * 7, [0] * 7)
    drawn = loss_of([1.0, 0.5, 0.5], [1.0, 0.0, 0.0], [2.0, 6.0, 6.0], [0] * 3)
    assert drawn == pytest.approx(all_of_them, rel=1e-5)
