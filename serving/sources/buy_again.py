"""What the user has acted on before."""

import numpy as np

from serving.candidates import NOTHING, Candidates, RowScores
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context


class BuyAgainSource:
    """Items of the history, by how often and how lately the user acted on them."""

    name = "buy_again"

    def __init__(self, settings: ServingSettings) -> None:
        self._days = settings.buy_again_days

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by events times exp(-age / `buy_again_days`)."""
        acts = context.acts
        if not len(acts):
            return NOTHING
        scores = (acts.counts * acts.decayed(self._days)).astype(np.float32)
        return RowScores(acts.rows, scores).candidates(context.allowed, count)
