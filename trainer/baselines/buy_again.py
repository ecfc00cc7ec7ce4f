"""The user's own items again."""

import numpy as np

from feature_repo.times import DAY
from trainer.baselines.decay import Decay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import summed_weights
from trainer.interactions import Interactions

RETURN_SHARE = 0.05


class BuyAgain:
    """How often the user has acted on an item, each time weighed by its age.

    Personal top frequency (Hu et al., SIGIR 2020, arXiv:2006.00556) with a decay.
    """

    name = "own recent items"

    def __init__(
        self, past: Interactions, histories: Interactions | None = None, *, decay: Decay
    ) -> None:
        histories = histories or past
        self._user_item = summed_weights(histories, decay.weights(histories))

    def score(self, users: Indices) -> Scores:
        """Return the users' weights of their own items, 0 for items that are new to them."""
        scores: Scores = self._user_item[users].toarray()
        return scores


def people_return_to_items(past: Interactions) -> bool:
    """Return whether `RETURN_SHARE` of the events or more came a day after the user's first on it.

    So it is where people buy groceries, and not where they watch films.
    """
    pairs = past.user.astype(np.int64) * len(past.items) + past.item
    pair = np.unique(pairs, return_inverse=True)[1]
    first = np.full(pair.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, pair, past.timestamp)
    returns = past.timestamp - first[pair] >= DAY
    return len(pair) > 0 and bool(returns.mean() >= RETURN_SHARE)
