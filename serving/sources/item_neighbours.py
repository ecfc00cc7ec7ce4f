"""What goes with the items of the user's history, as a bundle has learned it."""

from serving.candidates import NOTHING, Candidates
from serving.sources.candidate_source import Context


class ItemNeighboursSource:
    """Sums the weights that the bundle's table `name` gives between the history and each item."""

    def __init__(self, name: str) -> None:
        self.name = name

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by their positive sums."""
        ranking = context.model.ranking
        table = ranking.neighbours.get(self.name) if ranking else None
        if table is None or not len(context.acts):
            return NOTHING
        found = table.scores(context.acts.rows, context.acts.decayed(table.days))
        return found.candidates(context.allowed, count)
