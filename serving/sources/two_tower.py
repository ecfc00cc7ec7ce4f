"""Candidates by dot product with the query embedding."""

from functools import partial

import numpy as np

from serving.candidates import NOTHING, Candidates, Scores, no_scores
from serving.exact_index import Score, dot_products
from serving.item_rows import Rows
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context

# Of 100,000 items of a sample shop the index's first 200 held .97 of the 20 nearest by cosine, 400
# .9995, and 800 all: some embeddings are half as long again as others.
NEAREST_PER_POOL = 4


class TwoTowerSource:
    """Asks the index, and scores exactly what the index alone cannot answer.

    The list is the index's first `pool_size` that are allowed, then all others by their exact
    score. It does not depend on how much of it is asked for, so pages neither repeat nor miss.
    """

    name = "two_tower"

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by dot product."""
        return self._candidates(context, count, enough=count)

    def nearest(self, context: Context) -> Candidates:
        """Return the index's first `pool_size`, as far as they are allowed.

        Where at least half of them are, the few that are missing, such as what the user has bought,
        are not made up for: to score the rest of a large catalogue would cost more than all other
        sources together. Where fewer are, the rest is scored.
        """
        size = self._settings.pool_size
        return self._candidates(context, size, enough=size / 2)

    def nearest_by(self, score: Score, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by a score that is much like the dot product.

        They are the index's first, four times `pool_size`, by that score, then all others by it.
        """
        table, rest = context.model.table, context.allowed
        rows, scores = NOTHING.rows, NOTHING.scores
        if context.query is not None and not self._is_exact(context):
            pool, _ = self._pool(
                context, context.query, NEAREST_PER_POOL * self._settings.pool_size
            )
            among = np.zeros_like(context.allowed)
            among[pool] = True
            rows, scores = table.best_by(score, among, count)
            rest = rest & ~among
        if len(rows) < count:
            more, their_scores = table.best_by(score, rest, count - len(rows))
            rows, scores = np.concatenate([rows, more]), np.concatenate([scores, their_scores])
        return Candidates(rows, scores)

    def score_of(self, context: Context, rows: Rows) -> Scores:
        """Return dot products float32 [len(rows)]; 0 without a query or an embedding."""
        if context.query is None:
            return no_scores(rows)
        return dot_products(context.model.table.embeddings_of_rows(rows)[0], context.query)

    def _candidates(self, context: Context, count: int, enough: float) -> Candidates:
        """Return up to `count` rows of the index.

        Where these are fewer than `enough`, the best of all others by their exact score follow.
        """
        if context.query is None:
            return NOTHING
        table = context.model.table
        if self._is_exact(context):
            rows, scores = table.score(context.query, context.allowed, count)
        else:
            rows, scores = self._pool(context, context.query, self._settings.pool_size)
            if len(rows) < enough:
                rest = context.allowed.copy()
                rest[rows] = False
                more, their_scores = table.score(context.query, rest, count - len(rows))
                rows = np.concatenate([rows, more])
                scores = np.concatenate([scores, their_scores])
        return Candidates(rows[:count], scores[:count], partial(self.score_of, context))

    def _is_exact(self, context: Context) -> bool:
        """Whether all are scored: so is what the index's pool would hardly hold any of."""
        if context.model.index.is_exact:
            return True
        if not context.filtered:
            return False
        allowed = int(np.count_nonzero(context.allowed))
        return allowed < self._settings.exact_share * len(context.model.table)

    def _pool(self, context: Context, query: Scores, size: int) -> tuple[Rows, Scores]:
        context.model.recent_queries.append(query)
        found = context.model.index.search(query[None], size)
        rows = found.rows[0]
        # The index may know an item that this view of the catalogue does not, or an empty place.
        shown = (rows >= 0) & (rows < len(context.allowed))
        shown[shown] = context.allowed[rows[shown]]
        return rows[shown], found.scores[0][shown]
