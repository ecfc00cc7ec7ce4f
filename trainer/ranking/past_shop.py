"""A shop as it was at a moment, asked as the service is asked: by the service's own code."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.co_visited_columns import co_visited
from feature_repo.history import HistoryEvent
from feature_repo.item_statistics import count_columns
from feature_repo.times import moment_of
from serving.candidate_space import CandidateSpace
from serving.catalogue import Catalogue
from serving.exact_index import ExactIndex
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.ranking.bundle_files import RankingData
from serving.ranking.live_ranking import LiveRanking
from serving.ranking.ranker import Ranker
from serving.ranking.ranking_stage import RankingStage
from serving.signals.item_neighbours import ItemNeighbours
from serving.signals.item_signals import ItemSignals
from serving.sources.candidate_source import CandidateSource, Context
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.popular import PopularSource
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs
from trainer.interactions import Interactions
from trainer.ranking.service_settings import ServiceSettings

Floats = npt.NDArray[np.float32]


class PastShop:
    """The ranking stage over the catalogue and the histories of some interactions.

    Whatever the catalogue says is sold out by now may be proposed.

    Args:
        histories: what is known of users and items. What trends and what goes together is of the
            time of the newest event, however much later a user comes.
        ranking_over: makes what candidates are ranked by over the rows of the items.
        candidates: float32 [num_items, dimension], the two-tower's; None asks without it.
        service: how lists are made, and how many of a user's newest events are known for them,
            as in the online store.
        moments: int64 [num_users], microseconds, at what time of day and of the week each user
            comes; None means that of the newest event.
    """

    def __init__(
        self,
        histories: Interactions,
        ranking_over: Callable[[ItemRows], LiveRanking | None],
        candidates: Floats | None,
        service: ServiceSettings,
        *,
        moments: npt.NDArray[np.int64] | None = None,
    ) -> None:
        settings = service.serving
        self._histories = histories
        self._max_history = service.history_length
        self._moments = moments
        self._at = histories.end
        self.num_items = len(histories.items)
        rows = ItemRows([item.item_id for item in histories.items])
        ranking = ranking_over(rows)
        # Which events say something for their item, and which of them take it; None means all.
        self._counts: npt.NDArray[np.bool_] | None = None
        self._takes: npt.NDArray[np.bool_] | None = None
        if ranking is not None and ranking.weightless:
            self._counts = ~histories.is_of(ranking.weightless)
        if ranking is not None and ranking.taking:
            self._takes = histories.is_of(ranking.taking)
        self._catalogue = Catalogue(rows)
        self._catalogue.load_snapshot(histories.items)
        self._trending = TrendingSource(rows, settings)
        events = histories.frame().with_columns(pl.col("timestamp").dt.epoch("us"))
        self._trending.update(list(count_columns(events).values()))
        co_visitation = CoVisitationSource(rows, settings)
        if service.co_visitation.neighbours:
            together = co_visited(
                events, events.clear(), service.co_visitation, service.history_length
            )
            co_visitation.update(list(together.values()))
        if candidates is None:
            candidates = np.zeros((self.num_items, 1), np.float32)
        table = ExactIndex(candidates.shape[1], rows)
        table.upsert([item.item_id for item in histories.items], candidates)
        # The last coordinate is that of popularity, as in every bundle.
        space = CandidateSpace("", candidates.shape[1] - 1, 1.0, {})
        nobody: Any = None  # queries are embedded already
        self._model = LiveModel(space, nobody, table, table, ranking=ranking)
        self.stage = RankingStage(self._trending, co_visitation, settings)
        self.fallback: tuple[CandidateSource, ...] = (
            PopularSource(self._trending, settings),
            self.stage.new_arrivals,
        )
        """What strangers get, one after the other."""

    def context(
        self, user: int, query: Floats | None, hidden: npt.NDArray[np.int64] | None = None
    ) -> Context:
        """Return the context of a request by the user of this index.

        query: float32 [dimension], the user's; None asks without the two-tower. hidden: items, by
        their index, that may not be shown; None leaves nothing out.
        """
        columns, counted = self._histories, self._counted(user)
        view = self._catalogue.view()
        moment = None if self._moments is None else _moment(self._moments[user])
        acts = UserActs.of_columns(
            columns.item[counted].astype(np.int64),
            columns.timestamp[counted],
            None if self._takes is None else self._takes[counted],
        )
        # What is sold out is known as of today, and an answer may have sold out since it was one.
        allowed = view.listed
        if hidden is not None and len(hidden):
            allowed = allowed.copy()
            allowed[hidden] = False
        context = Context(self._model, view, allowed, False, query, self._at, moment=moment)
        return context.of_user(self._events(counted), acts)

    def seen(self, user: int) -> npt.NDArray[np.int64]:
        """Return the items, by their index, that `exclude_seen` hides from the user of this index.

        Those of the newest events alone: of older ones a service knows nothing.
        """
        return np.unique(self._histories.item[self._kept(user)]).astype(np.int64)

    def _kept(self, user: int) -> slice:
        start, end = self._histories.first_event[user : user + 2]
        return slice(max(start, end - self._max_history), end)

    def _counted(self, user: int) -> slice | npt.NDArray[np.int64]:
        kept = self._kept(user)
        if self._counts is None:
            return kept
        counted: npt.NDArray[np.int64] = np.flatnonzero(self._counts[kept]) + kept.start
        return counted

    def _events(self, counted: slice | npt.NDArray[np.int64]) -> tuple[HistoryEvent, ...]:
        columns = self._histories
        rows = zip(
            columns.timestamp[counted].tolist(),
            columns.item[counted].tolist(),
            columns.event_type[counted].tolist(),
            strict=True,
        )
        items, types = columns.items, columns.event_types
        return tuple(
            HistoryEvent(at, "", items[item].item_id, types[event_type], 0.0)
            for at, item, event_type in rows
        )


def _moment(timestamp: np.int64) -> datetime:
    return moment_of(int(timestamp))


def ranking_of(
    data: RankingData, ranker: Ranker | None = None
) -> Callable[[ItemRows], LiveRanking]:
    """Return a function that places the tables and signals of `data` over the rows of a shop.

    The shop must have the items in the order of `data`. ranker: in place of the layers of `data`.
    """

    def over(rows: ItemRows) -> LiveRanking:
        first = np.arange(len(data.signals))
        placed = {name: ItemNeighbours(each, first, rows) for name, each in data.tables.items()}
        signals = ItemSignals.of(data.signals, first, rows)
        return LiveRanking(placed, signals, ranker, data.fusion, data.taking, data.weightless)

    return over
