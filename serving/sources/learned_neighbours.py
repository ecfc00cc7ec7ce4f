"""What goes with the items of the user's history, as a bundle has learned it."""

import numpy as np

from serving.candidates import NOTHING, Candidates, Scores
from serving.item_rows import Rows
from serving.signals.item_neighbours import Contributions, ItemNeighbours
from serving.sources.candidate_source import Context


class LearnedNeighboursSource:
    """Sums the weights that the bundle's table `name` gives between the history and each item."""

    def __init__(self, name: str) -> None:
        self.name = name

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by their positive sums."""
        table = self._table(context)
        if table is None or not len(context.acts):
            return NOTHING
        found = table.scores(context.acts.rows, self._weights(table, context))
        return found.candidates(context.allowed, count)

    def contributions(self, context: Context, rows: Rows) -> Contributions:
        """Return the summands of the scores of `rows`, by item of `context.acts`."""
        acts, table = context.acts, self._table(context)
        if table is None:
            return np.zeros((len(acts), len(rows)), dtype=np.float32)
        return table.contributions(acts.rows, self._weights(table, context), rows)

    @staticmethod
    def _weights(table: ItemNeighbours, context: Context) -> Scores:
        return context.acts.decayed(table.days, table.events)

    def _table(self, context: Context) -> ItemNeighbours | None:
        ranking = context.model.ranking
        return ranking.neighbours.get(self.name) if ranking else None
