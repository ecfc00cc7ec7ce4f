"""Learning which of a request's candidates is acted on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.import_keras import keras
from trainer.ranking.examples import Examples


def fit_lists(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    examples: Examples,
    epochs: int,
    batch_size: int,
    random: np.random.Generator,
) -> None:
    """Fit `model`, from features float32 [n, num_features] to float32 [n, num_objectives].

    The softmax of a request is over its candidates and all that may be done with each, so that it
    also learns how often one objective is met beside another. A step takes requests of about
    `batch_size` candidates together, in random order.
    """
    optimizer.build(model.trainable_variables)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, examples.features.shape[1]], tf.float32),
            tf.TensorSpec([None, examples.labels.shape[1]], tf.float32),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ],
        autograph=False,
    )
    def step(features: Any, labels: Any, weights: Any, requests: Any) -> None:
        with tf.GradientTape() as tape:
            scores = model(features, training=True)
            loss = softmax_loss(*_cells(scores, labels, weights, requests))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)

    for _ in range(epochs):
        for rows, requests in _batches(examples.sizes, batch_size, random):
            step(
                tf.constant(examples.features[rows]),
                tf.constant(examples.labels[rows]),
                tf.constant(examples.weights[rows]),
                tf.constant(requests),
            )


def _cells(scores: Any, labels: Any, weights: Any, requests: Any) -> tuple[Any, ...]:
    """Return all four as [n * num_objectives]."""
    number = scores.shape[1]
    flat = (tf.reshape(scores, [-1]), tf.reshape(labels, [-1]))
    return *flat, tf.repeat(weights, number), tf.repeat(requests, number)


def softmax_loss(scores: Any, labels: Any, weights: Any, requests: Any) -> Any:
    """Return the mean cross-entropy of each request's labels with the softmax of its scores.

    The listwise softmax of Bruch et al. (ICTIR 2019, https://doi.org/10.1145/3341981.3344221).

    Args:
        scores: float [n].
        labels: float [n]; those of a request count in proportion, and one at least is positive.
        weights: float [n], for how many candidates each stands, times what its request weighs.
        requests: int32 [n], ascending from 0, without gaps.
    """
    positive = tf.cast(labels > 0, scores.dtype)
    request_weights = tf.math.segment_max(weights * positive, requests)
    stands_for = weights / tf.gather(request_weights, requests)
    largest = tf.stop_gradient(tf.math.segment_max(scores, requests))
    shifted = scores - tf.gather(largest, requests)
    totals = tf.math.segment_sum(stands_for * tf.exp(shifted), requests)
    wanted = tf.math.segment_sum(labels * shifted, requests)
    wanted /= tf.math.segment_sum(labels, requests)
    losses = tf.math.log(totals) - wanted
    return tf.reduce_sum(request_weights * losses) / tf.reduce_sum(request_weights)


def _batches(
    sizes: npt.NDArray[np.int64], batch_size: int, random: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
    """Yield rows of whole requests, and the number of the request of each, from 0 on."""
    starts = np.cumsum(sizes) - sizes
    order = random.permutation(len(sizes))
    steps = max(1, round(sizes.sum() / batch_size))
    for chosen in np.array_split(order, steps):
        lengths = sizes[chosen]
        requests = np.repeat(np.arange(len(chosen)), lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield starts[chosen][requests] + within, requests.astype(np.int32)
