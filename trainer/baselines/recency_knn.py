"""Neighbours and successors of what a user did last: the simple answer to a sequence."""

import numpy as np
from scipy import sparse

from trainer.baselines.decay import Decay
from trainer.baselines.item_knn import Cosines
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions


class RecencyKnn:
    """Cosine neighbours and successors of a user's items, the newest items counting most.

    Scores are a user's row of `histories`, weighted by the decay `asked`, times
    (transitions + `cosine_weight` * cosines of `ItemKnn`). The transition from item i to j is
    the sum of 1 / distance over the places where j comes `distance` <= `max_distance` events
    after i in a user's events, divided by the number of events of i.

    Transitions over skipped events are the sequential rules of Ludewig and Jannach (UMUAI 2018,
    arXiv:1803.09587, section 3.1); recency weights those of their V-SkNN.

    Raises:
        ValueError: `max_distance` is below 1.
    """

    name = "recency-kNN + skip-Markov"

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        asked: Decay,
        max_distance: int,
        cosine_weight: float,
    ) -> None:
        histories = histories or past
        self._user_item = largest_weights(histories, asked.weights(histories))
        self._shares = transition_shares(past, max_distance)
        self._cosines, self._cosine_weight = Cosines(past), cosine_weight

    def score(self, users: Indices) -> Scores:
        """Return the users' rows times transitions and cosines."""
        asked = self._user_item[users]
        followed = (asked @ self._shares).toarray()
        scores: Scores = followed + self._cosine_weight * self._cosines.summed(asked)
        return scores.astype(np.float32)


def transition_shares(past: Interactions, max_distance: int) -> sparse.csr_array:
    """Return float64 [num_items, num_items], `transitions` over the row's number of events."""
    counts = np.bincount(past.item, minlength=len(past.items))
    shares: sparse.csr_array = sparse.diags_array(1 / np.maximum(counts, 1)) @ transitions(
        past, max_distance
    )
    return shares


def transitions(past: Interactions, max_distance: int) -> sparse.csr_array:
    """Return float64 [num_items, num_items], the sums of 1 / distance from row to column.

    Raises:
        ValueError: `max_distance` is below 1.
    """
    if max_distance < 1:
        raise ValueError(f"`max_distance` must be at least 1. Received: {max_distance}.")
    first, then, closeness = [], [], []
    for distance in range(1, max_distance + 1):
        is_same_user = past.user[:-distance] == past.user[distance:]
        first.append(past.item[:-distance][is_same_user])
        then.append(past.item[distance:][is_same_user])
        closeness.append(np.full(int(is_same_user.sum()), 1 / distance))
    pairs = (np.concatenate(first), np.concatenate(then))
    shape = (len(past.items), len(past.items))
    return sparse.csr_array((np.concatenate(closeness), pairs), shape=shape)
