"""Candidates by dot product with the query embedding."""

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows
from serving.settings import ServingSettings
from serving.sources.candidate_source import NOTHING, Candidates, Context


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
        if context.query is None:
            return NOTHING
        table = context.model.table
        if context.model.index.is_exact or self._is_selective(context):
            return Candidates(*table.score(context.query, context.allowed, count))
        head = self._pool(context, context.query)
        if len(head.rows) >= count:
            return Candidates(head.rows[:count], head.scores[:count])
        rest = context.allowed.copy()
        rest[head.rows] = False
        tail = table.score(context.query, rest, count - len(head.rows))
        return _joined(head, Candidates(*tail))

    def _is_selective(self, context: Context) -> bool:
        """Whether so little is allowed that the index's pool would hardly hold any of it."""
        if not context.filtered:
            return False
        allowed = int(np.count_nonzero(context.allowed))
        return allowed < self._settings.exact_share * len(context.model.table)

    def _pool(self, context: Context, query: npt.NDArray[np.float32]) -> Candidates:
        context.model.recent_queries.append(query)
        found = context.model.index.search(query[None], self._settings.pool_size)
        rows: Rows = context.model.table.rows.rows_of(found.candidate_ids[0])
        # The index may know an item that this view of the catalogue does not, or an empty place.
        shown = (rows >= 0) & (rows < len(context.allowed))
        shown[shown] = context.allowed[rows[shown]]
        return Candidates(rows[shown], found.scores[0][shown])


def _joined(head: Candidates, tail: Candidates) -> Candidates:
    return Candidates(
        np.concatenate([head.rows, tail.rows]), np.concatenate([head.scores, tail.scores])
    )
