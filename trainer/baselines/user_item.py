"""Interactions as a sparse matrix of users and items."""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.interactions import Interactions

Weights = npt.NDArray[np.float32]


def largest_weights(interactions: Interactions, weights: Weights) -> sparse.csr_array:
    """Return float32 [num_users, num_items], the largest of each pair's `weights` [num_events].

    Pairs of weight 0 are not stored.
    """
    order = np.lexsort((weights, interactions.item, interactions.user))
    user, item = interactions.user[order], interactions.item[order]
    is_last = np.ones(len(order), dtype=bool)
    is_last[:-1] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    return _matrix(interactions, user[is_last], item[is_last], weights[order][is_last])


def summed_weights(interactions: Interactions, weights: Weights) -> sparse.csr_array:
    """Return float32 [num_users, num_items], the sum of each pair's `weights` [num_events].

    Pairs of weight 0 are not stored.
    """
    return _matrix(interactions, interactions.user, interactions.item, weights)


def _matrix(
    interactions: Interactions,
    user: npt.NDArray[np.int32],
    item: npt.NDArray[np.int32],
    weights: Weights,
) -> sparse.csr_array:
    shape = (len(interactions.user_ids), len(interactions.items))
    matrix = sparse.csr_array((weights.astype(np.float32), (user, item)), shape=shape)
    matrix.eliminate_zeros()
    return matrix
