"""Item-based collaborative filtering by cosine."""

import numpy as np
from scipy import sparse

from trainer.baselines.decay import NoDecay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions


class ItemKnn:
    """Sum over the user's items of their cosine with each item (Sarwar et al., WWW 2001).

    An item's cosine with itself counts: who bought it once may buy it again. The cosines are
    those of `past`, the users' items those of `histories` (default: the past's).
    """

    name = "item-kNN, cosine"

    def __init__(self, past: Interactions, histories: Interactions | None = None) -> None:
        histories = histories or past
        # In float64, so that rounding neither makes ties nor breaks them.
        asked = largest_weights(histories, NoDecay().weights(histories))
        self._user_item = asked.astype(np.float64)
        self._similarity = cosines(past)

    def score(self, users: Indices) -> Scores:
        """Return the users' rows times the similarities."""
        scores: Scores = (self._user_item[users] @ self._similarity).toarray().astype(np.float32)
        return scores


def cosines(past: Interactions) -> sparse.csr_array:
    """Return float64 [num_items, num_items], the cosines of the items' sets of users."""
    users = largest_weights(past, NoDecay().weights(past)).astype(np.float64)
    counts = np.asarray(users.sum(axis=0)).ravel()
    normalised = users @ sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1)))
    similarity: sparse.csr_array = (normalised.T @ normalised).tocsr()
    return similarity
