"""The user's own items again."""

from trainer.baselines.decay import Decay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import summed_weights
from trainer.interactions import Interactions


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
