"""What the user has acted on before."""

import numpy as np

from feature_repo.times import DAY, microseconds
from serving.candidates import NOTHING, Candidates, RowScores, Scores
from serving.item_rows import Rows
from serving.settings import ServingSettings
from serving.signals.item_neighbours import Contributions
from serving.signals.item_signals import SIGNALS
from serving.sources.candidate_source import Context

NOT_DUE = 0.5
"""An item that was taken a moment ago counts less by so much than one that is long due."""


class BuyAgainSource:
    """Items of the history, by how often and how lately the user acted on them, and what is due.

    An item that people take again after some days, as the bundle has counted, is less probable
    before: by `NOT_DUE` * exp(-days since the user took it / usual days).
    """

    name = "buy_again"

    def __init__(self, settings: ServingSettings) -> None:
        self._days = settings.buy_again_days

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by events, exp(-age / `buy_again_days`), due."""
        if not len(context.acts):
            return NOTHING
        found = RowScores(context.acts.rows, self._scores(context))
        return found.candidates(context.allowed, count)

    def contributions(self, context: Context, rows: Rows) -> Contributions:
        """Return the score of each row at its own place in the history."""
        is_itself = context.acts.rows[:, None] == rows
        return np.where(is_itself, self._scores(context)[:, None], np.float32(0))

    def _scores(self, context: Context) -> Scores:
        acts, ranking = context.acts, context.model.ranking
        scores = acts.counts * acts.decayed(self._days)
        if ranking is None:
            return scores
        usual = ranking.signals.of_rows(acts.rows)[:, SIGNALS.index("repeat_days")]
        known = (usual > 0) & (acts.visits > 0)
        since = np.maximum(microseconds(context.minute) - acts.last_taken[known], 0) / DAY
        scores[known] *= 1 - NOT_DUE * np.exp(-(since + 1) / usual[known])
        return scores
