"""The retrieval losses; the only module that touches TensorFlow Recommenders."""

from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs


class RetrievalLoss:
    """Sampled softmax over in-batch and uniformly sampled negatives, with logQ correction.

    Mixed negatives: Yang et al., WWW 2020 (https://doi.org/10.1145/3366424.3386195). logQ:
    Yi et al., RecSys 2019 (https://doi.org/10.1145/3298689.3346996). A negative that is the
    query's own positive (an accidental hit) is removed. The positive itself is not corrected, since
    it is there whatever is drawn (Khrylchenko et al., RecSys 2025,
    https://doi.org/10.1145/3705328.3748033). The loss estimates that of the softmax over all items,
    so that it does not depend on how many candidates a batch or a replica has.
    """

    def __init__(self) -> None:
        self._task = tfrs.tasks.Retrieval(batch_metrics=[], loss=_softmax_beside_negatives)

    # Keras 3 switches autograph off in its train step; TFRS relies on it.
    @tf.function(autograph=True)
    def __call__(
        self,
        query_embeddings: Any,
        candidate_embeddings: Any,
        candidate_ids: Any,
        expected_count: Any,
        sample_weight: Any,
    ) -> Any:
        """Return the scalar loss.

        Args:
            query_embeddings: float [num_queries, dimension].
            candidate_embeddings: float [num_candidates, dimension]; row i is the positive of
                query i, rows from num_queries on are sampled negatives.
            candidate_ids: int [num_candidates].
            expected_count: float [num_candidates], positive, how often the candidate is expected
                among all candidates; its logarithm is subtracted from the scores of negatives.
            sample_weight: float [num_queries].
        """
        num_queries = tf.shape(query_embeddings)[0]
        positives = tf.reduce_sum(query_embeddings * candidate_embeddings[:num_queries], axis=1)
        # The matrix of scores is large: as one more coordinate the correction costs no pass over
        # it, and TFRS's own arguments for correction and accidental hits cost six.
        one = [[0, 0], [0, 1]]
        queries = tf.pad(query_embeddings, one, constant_values=1.0)
        correction = -tf.math.log(expected_count)[:, None]
        # Every query's id is compared with every candidate's. TensorFlow compares int32 on the
        # CPU whatever the device, and would copy the matrix to the GPU at every step.
        ids = tf.cast(candidate_ids, tf.int64)
        return self._task(
            queries,
            tf.concat([candidate_embeddings, correction], axis=1),
            sample_weight=tf.stack([sample_weight, positives], axis=1),
            score_mask=tf.not_equal(ids[:num_queries, None], ids),
            compute_metrics=False,
            compute_batch_metrics=False,
        )


def full_softmax_loss(queries: Any, items: Any, labels: Any, sample_weight: Any) -> Any:
    """Return the scalar loss of the softmax over all items, which `RetrievalLoss` estimates.

    Where the whole catalogue fits into a step, nothing has to be sampled, corrected or removed.

    queries: float [num_queries, dimension]; items: float [num_items, dimension]; labels: int
    [num_queries], rows of `items`; sample_weight: float [num_queries].
    """
    scores = tf.matmul(queries, items, transpose_b=True)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
    return _weighted_mean(losses, sample_weight)


def _softmax_beside_negatives(*, y_pred: Any, sample_weight: Any, **_: Any) -> Any:
    """Return the weighted mean of cross entropies between a query's positive and its negatives.

    y_pred: float [num_queries, num_candidates], the scores of negatives, next to nothing where a
    candidate is none; sample_weight: float [num_queries, 2], weights, and the scores of the
    positives.
    """
    weights, positives = tf.unstack(sample_weight, axis=1)
    negatives = tf.reduce_logsumexp(y_pred, axis=1)
    return _weighted_mean(tf.nn.softplus(negatives - positives), weights)


def _weighted_mean(values: Any, weights: Any) -> Any:
    return tf.reduce_sum(values * weights) / (tf.reduce_sum(weights) + 1e-9)
