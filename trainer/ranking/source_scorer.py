"""One candidate source alone, as a scorer."""

import numpy as np

from serving.sources.candidate_source import CandidateSource
from trainer.baselines import Indices, Scores
from trainer.ranking.past_shop import PastShop


class SourceScorer:
    """What a source of the shop proposes, as many as there are; all other items tie behind.

    A source that gives nothing but an order, all scores being 0, is taken at its order.
    """

    def __init__(self, source: CandidateSource, shop: PastShop) -> None:
        self.name = source.name
        self._source = source
        self._shop = shop

    def score(self, users: Indices) -> Scores:
        """Return float32 [len(users), num_items]."""
        scores = np.zeros((len(users), self._shop.num_items), np.float32)
        for row, user in zip(scores, users.tolist(), strict=True):
            proposed = self._source.propose(self._shop.context(user, None), len(row))
            said = proposed.scores
            if not said.any():
                said = np.arange(len(said), 0, -1, dtype=np.float32)
            row -= 1 - said.min(initial=0)
            row[proposed.rows] = said
        return scores
