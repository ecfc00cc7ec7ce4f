"""What is popular in the user's categories and at the user's prices."""

from dataclasses import dataclass, field

import numpy as np

from serving.candidates import NOTHING, Candidates, Scores
from serving.catalogue_columns import Codes
from serving.item_rows import Rows, best
from serving.sources.candidate_source import Context
from serving.sources.trending import TrendingSource

ENOUGH = 100
"""Where so many rows of `TrendingSource.head` are in the user's categories, it is enough."""

CATEGORIES = 20
"""Where it is not, what trends within each of so many categories is looked at too: those that have
the largest shares of the history."""

HEAD = 500
"""How many rows of a category are kept, those that trend most."""


@dataclass(frozen=True, slots=True, eq=False)
class _Heads:
    """Rows by category, as of one view's `categories` and of one `TrendingSource.head`."""

    categories: Codes
    trending: Rows
    rows: dict[int, Rows] = field(default_factory=dict)


class CategorySource:
    """What trends, weighed by the share of its category in the history and its price's fit."""

    name = "category"

    def __init__(self, trending: TrendingSource) -> None:
        self._trending = trending
        # Of the last view, which is mostly that of the next request.
        self._heads = _Heads(np.empty(0, np.int32), np.empty(0, np.int64))

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows among those that trend most.

        Where these are hardly in the user's categories, those that trend most within each of them.
        """
        if not len(context.acts):
            return NOTHING
        taste, view = context.taste, context.view

        def score_of(rows: Rows) -> Scores:
            worth = self._trending.score_of(rows, context.minute)
            return worth * taste.category_shares(view, rows) * taste.price_fits(view, rows)

        rows = self._trending.head()
        rows = rows[rows < len(context.allowed)]
        rows = rows[context.allowed[rows] & (taste.category_shares(view, rows) > 0)]
        # Whatever `count` is, so that a longer list begins with a shorter one.
        if len(rows) < ENOUGH:
            others = self._of_categories(context)
            rows = np.union1d(rows, others[context.allowed[others]])
        scores = score_of(rows)
        order = best(scores, count)
        return Candidates(rows[order], scores[order], score_of)

    def _of_categories(self, context: Context) -> Rows:
        """Return the heads of the user's categories, one after the other."""
        categories, trending, heads = context.view.categories, self._trending.head(), self._heads
        if heads.categories is not categories or heads.trending is not trending:
            heads = self._heads = _Heads(categories, trending)
        shares = context.taste.shares_of_categories
        codes = best(shares, CATEGORIES)
        found = [np.empty(0, np.int64)]
        for code in codes[shares[codes] > 0].tolist():
            if code not in heads.rows:
                rows = np.flatnonzero(categories == code)
                heads.rows[code] = self._trending.leading(rows, HEAD)
            found.append(heads.rows[code])
        return np.concatenate(found)
