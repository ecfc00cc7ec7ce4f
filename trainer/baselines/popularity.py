"""The same list for everybody: the items that most users acted on."""

import numpy as np

from trainer.baselines.decay import LastDays, NoDecay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions


class Popularity:
    """How many users acted on an item, within the last `days` if given.

    As a share of the users who acted on the most popular item. `histories` are not counted.
    """

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        days: float | None = None,
    ) -> None:
        self.name = "popularity"
        if days is not None:
            self.name += ", last day" if days == 1 else f", last {days:g} days"
        decay = NoDecay() if days is None else LastDays(days)
        users = largest_weights(past, decay.weights(past))
        counts = np.asarray(users.sum(axis=0), dtype=np.float32).ravel()
        self._scores = counts / max(counts.max(initial=0), 1)

    def score(self, users: Indices) -> Scores:
        """Return the same scores for every user."""
        return np.tile(self._scores, (len(users), 1))
