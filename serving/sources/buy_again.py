"""What the user has acted on before."""

import numpy as np

from serving.candidates import NOTHING, Candidates, RowScores, Scores
from serving.item_rows import Rows
from serving.ranking.item_neighbours import Contributions
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.user_acts import UserActs


class BuyAgainSource:
    """Items of the history, by how often and how lately the user acted on them."""

    name = "buy_again"

    def __init__(self, settings: ServingSettings) -> None:
        self._days = settings.buy_again_days

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by events times exp(-age / `buy_again_days`)."""
        if not len(context.acts):
            return NOTHING
        found = RowScores(context.acts.rows, self._scores(context.acts))
        return found.candidates(context.allowed, count)

    def contributions(self, context: Context, rows: Rows) -> Contributions:
        """Return the score of each row at its own place in the history."""
        acts = context.acts
        is_itself = acts.rows[:, None] == rows
        return np.where(is_itself, self._scores(acts)[:, None], np.float32(0))

    def _scores(self, acts: UserActs) -> Scores:
        return acts.counts * acts.decayed(self._days)
