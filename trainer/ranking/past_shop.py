"""A shop as it was at a moment, asked as the service is asked: by the service's own code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.item_statistics import count_columns
from serving.candidate_space import CandidateSpace
from serving.catalogue import Catalogue
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.ranking.item_neighbours import ItemNeighbours, NeighbourTable
from serving.ranking.item_signals import ItemSignals
from serving.ranking.ranking import Ranker, Ranking
from serving.ranking.ranking_stage import RankingStage
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs
from trainer.interactions import Interactions

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """A two-tower's: queries float32 [num_users, dimension], candidates [num_items, dimension]."""

    queries: Floats
    candidates: Floats


class PastShop:
    """The ranking stage over the catalogue and the histories of some interactions.

    Args:
        histories: what is known of users and items. The moment is that of the newest event.
        tables: by the source that reads them, of the same items in the same order.
        signals: float32 [num_items, len(SIGNALS)].
        embeddings: of these users and items; None asks without the two-tower.
        ranker: orders the candidates; None leaves them to the fusion.
        max_history: so many of a user's newest events are known, as in the online store.
    """

    def __init__(
        self,
        histories: Interactions,
        tables: Mapping[str, NeighbourTable],
        signals: Floats,
        embeddings: Embeddings | None,
        settings: ServingSettings,
        *,
        max_history: int,
        ranker: Ranker | None = None,
    ) -> None:
        self._histories = histories
        self._max_history = max_history
        self._at = histories.end
        self._queries = None if embeddings is None else embeddings.queries
        rows = ItemRows([item.item_id for item in histories.items])
        every = np.arange(len(rows))
        self._catalogue = Catalogue(rows)
        self._catalogue.load_snapshot(histories.items)
        self._trending = TrendingSource(rows, settings)
        self._trending.update(list(count_columns(_frame(histories)).values()))
        candidates = (
            np.zeros((len(rows), 1), np.float32) if embeddings is None else embeddings.candidates
        )
        table = ExactIndex(candidates.shape[1], rows)
        table.upsert([item.item_id for item in histories.items], candidates)
        self.ranking = Ranking(
            {name: ItemNeighbours(each, every, rows) for name, each in tables.items()},
            ItemSignals.of(signals, every, rows),
            ranker,
        )
        space = CandidateSpace("", candidates.shape[1], 1.0, {})
        nobody: Any = None  # queries are embedded already
        self._model = LiveModel(space, nobody, table, table, ranking=self.ranking)
        self.stage = RankingStage(self._trending, CoVisitationSource(rows, settings), settings)
        self.num_items = len(rows)

    def context(self, user: int) -> Context:
        """Return the context of a request by the user of this index, with nothing left out."""
        columns = self._histories
        start, end = columns.first_event[user : user + 2]
        kept = slice(max(start, end - self._max_history), end)
        view = self._catalogue.view()
        query = None if self._queries is None else self._queries[user]
        acts = UserActs.of_columns(columns.item[kept].astype(np.int64), columns.timestamp[kept])
        return Context(self._model, view, view.available, False, query, self._at, acts=acts)


def _frame(histories: Interactions) -> pl.DataFrame:
    ids = np.array([item.item_id for item in histories.items], dtype=object)
    types = np.array(histories.event_types, dtype=object)
    return pl.DataFrame(
        {
            "item_id": ids[histories.item],
            "event_type": types[histories.event_type],
            "timestamp": histories.timestamp,
        },
        schema={"item_id": pl.String, "event_type": pl.String, "timestamp": pl.Int64},
    )
