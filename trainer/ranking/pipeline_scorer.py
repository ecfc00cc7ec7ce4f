"""The whole list as the service would make it, as a scorer."""

from collections.abc import Callable

import numpy as np

from trainer.baselines import Indices, Scores
from trainer.ranking.past_shop import PastShop


class PipelineScorer:
    """Candidates of all sources in the order of the ranking stage; all other items behind them.

    The others keep the order that the two-tower gives them. queries: gives the query embeddings,
    float32 [len(users), dimension], of users.
    """

    def __init__(self, name: str, shop: PastShop, queries: Callable[[Indices], Scores]) -> None:
        self.name = name
        self.shop = shop
        self._queries = queries

    def score(self, users: Indices) -> Scores:
        """Return float32 [len(users), num_items]."""
        queries = self._queries(users)
        pairs = zip(users.tolist(), queries, strict=True)
        return np.stack([self._scores_of(user, query) for user, query in pairs])

    def _scores_of(self, user: int, query: Scores) -> Scores:
        context, stage = self.shop.context(user, query), self.shop.stage
        pool, scores = stage.scored(context)
        every = stage.two_tower.score_of(context, np.arange(self.shop.num_items))
        every -= every.max(initial=0) + 1 - scores.min(initial=0)
        every[pool.rows] = scores
        return every
