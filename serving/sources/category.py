"""What is popular in the user's categories and at the user's prices."""

from serving.candidates import NOTHING, Candidates, Scores
from serving.item_rows import Rows, best
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource


class CategorySource:
    """What trends, weighed by the share of its category in the history and its price's fit."""

    name = "category"

    def __init__(self, trending: TrendingSource) -> None:
        self._trending = trending

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows among those that trend most."""
        if not len(context.acts):
            return NOTHING
        taste, view = context.taste, context.view

        def score_of(rows: Rows) -> Scores:
            worth = self._trending.score_of(rows, context.at)
            return worth * taste.category_shares(view, rows) * taste.price_fits(view, rows)

        rows = self._trending.head()
        rows = rows[rows < len(context.allowed)]
        rows = rows[context.allowed[rows] & (taste.category_shares(view, rows) > 0)]
        scores = score_of(rows)
        order = best(scores, count)
        return Candidates(rows[order], scores[order], score_of)
