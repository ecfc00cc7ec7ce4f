"""The one object both edges call: from a request to a ranked list."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import FeatureReader
from feature_repo.times import microseconds, minute_of
from serving.catalogue import Catalogue
from serving.item_rows import Mask
from serving.live_model import LiveModel, ModelHolder
from serving.ranking.explaining import Explainer
from serving.ranking.list_rankings import SimilarRanking, TrendingRanking, UserRanking
from serving.ranking.ranked import ListRanking, Ranked
from serving.ranking.ranking_stage import RankingStage
from serving.requests import (
    Explanation,
    ListRequest,
    Recommendation,
    RecommendedItem,
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
    UnknownItemError,
)
from serving.reranking.reranker import Reranker
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.catalogue import CatalogueSource
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.popular import PopularSource
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs
from serving.user_query import UserQueryReader, seen_items


class Recommender:
    """Answers requests from many threads. Every list is made by one `LiveModel`.

    A list has `limit` items wherever that many may be shown: places that the sources that know the
    user leave empty go to what is popular, then to what is new, then to the catalogue in its order.
    """

    def __init__(
        self,
        holder: ModelHolder,
        catalogue: Catalogue,
        online: FeatureReader,
        trending: TrendingSource,
        co_visitation: CoVisitationSource,
        settings: ServingSettings | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        max_history: int = DEFAULT_MAX_LENGTH,
    ) -> None:
        self._holder = holder
        self._catalogue = catalogue
        self._settings = settings or ServingSettings()
        self._clock = clock
        self._queries = UserQueryReader(online, max_history)
        self._stage = RankingStage(trending, co_visitation, self._settings)
        new_arrivals = self._stage.new_arrivals
        self._reranker = Reranker(self._settings, new_arrivals, "recommend")
        self._similar_reranker = Reranker(self._settings, new_arrivals, "similar")
        self._trending_reranker = Reranker(self._settings, new_arrivals, "trending")
        # Lists that are computed at the same time take longer each, and no less time in all: every
        # operation of NumPy on many numbers releases Python's lock, and waits to get it back.
        self._computing = threading.Lock()
        self._explainer = Explainer(self._stage, catalogue)
        popular = PopularSource(trending, self._settings)
        others = (new_arrivals, CatalogueSource())
        # All that trends is popular too: behind popular, trending finds more only where a request
        # asks for it and not for popular.
        self._user_ranking = UserRanking(self._stage, (popular, trending, *others))
        self._trending_ranking = TrendingRanking(trending, others)

    def recommend(self, request: RecommendRequest) -> Recommendation:
        """Return the best items for a user or a session; an unknown user gets what is popular.

        Raises `FilterError` for a filter that cannot be used.
        """
        at, model = self._clock(), self._holder.current
        request = self._reranker.completed(request)
        minute = microseconds(minute_of(at))
        with_events = bool(request.calibration) or self._stage.reads_events(model, request.sources)
        user = self._queries.read(request, model, minute, with_events=with_events)
        hidden = [*request.exclude_item_ids, *request.context_item_ids]
        hidden += seen_items(user.seen, request.exclude_seen)
        context = self._context(model, request.filter, hidden, user.embedding, at)
        # The query is of all events; what was hidden, say, is no reason for anything beside it.
        events, ranking = user.events, model.ranking
        counted = ranking.counted(events) if ranking else events
        acts = UserActs.of(counted, self._catalogue.rows, ranking.taking if ranking else ())
        context = replace(context.of_user(counted, acts), sources=request.sources)
        page = self._page(self._reranker, self._user_ranking, context, request)
        explained = self._explainer.explain(page, context) if request.explain else None
        return self._answer(request.request_id, model, page, explained)

    def similar(self, request: SimilarRequest) -> Recommendation:
        """Return the items nearest to one by cosine. Raises `UnknownItemError`."""
        at, model = self._clock(), self._holder.current
        taste = model.space.tastes(self._item_embedding(request.item_id, model, at)[None, :])[0]
        # Where the bundle has a coordinate of popularity, it is 0 in this query.
        query = np.pad(taste, (0, model.table.dimension - len(taste)))
        hidden = [*request.exclude_item_ids, request.item_id]
        context = self._context(model, request.filter, hidden, query, at)
        ranking = SimilarRanking(self._stage.two_tower, taste)
        page = self._page(self._similar_reranker, ranking, context, request)
        return self._answer(request.request_id, model, page)

    def trending(self, request: TrendingRequest) -> Recommendation:
        """Return what is acted on most at present, filled up with the newest items."""
        at, model = self._clock(), self._holder.current
        context = self._context(model, request.filter, request.exclude_item_ids, None, at)
        if request.category is not None:
            quoted = request.category.replace("'", "''")
            in_category = context.view.allowed(f"'{quoted}' = ANY(categories)", at)
            context = replace(context, allowed=context.allowed & in_category)
        page = self._page(self._trending_reranker, self._trending_ranking, context, request)
        return self._answer(request.request_id, model, page)

    def _context(
        self,
        model: LiveModel,
        sql: str | None,
        hidden: Iterable[str],
        query: npt.NDArray[np.float32] | None,
        at: datetime,
    ) -> Context:
        view = self._catalogue.view()
        allowed: Mask = view.allowed(sql, at)
        rows = self._catalogue.rows.known(hidden)
        if len(rows):
            allowed = allowed.copy()
            allowed[rows[rows < len(allowed)]] = False
        return Context(model, view, allowed, sql is not None, query, at)

    def _page(
        self, reranker: Reranker, ranking: ListRanking, context: Context, request: ListRequest
    ) -> Ranked:
        """Return the part of a list that is asked for."""
        with self._computing:
            return reranker.rerank(ranking, context, request).page(request.offset, request.limit)

    def _item_embedding(
        self, item_id: str, model: LiveModel, at: datetime
    ) -> npt.NDArray[np.float32]:
        item = self._catalogue.get(item_id)
        if item is None:
            raise UnknownItemError(item_id)
        embeddings, found = model.table.embeddings_of([item_id])
        if not found[0]:
            embeddings = model.encoder.encode_candidates([item], at)
        embedding: npt.NDArray[np.float32] = embeddings[0]
        return embedding

    def _answer(
        self,
        request_id: str,
        model: LiveModel,
        page: Ranked,
        explained: Sequence[tuple[str | None, Explanation | None]] | None = None,
    ) -> Recommendation:
        ids = self._catalogue.rows.ids_of(page.rows).tolist()
        why = explained or [(None, None)] * len(ids)
        columns = zip(ids, page.scores.tolist(), page.sources, why, strict=True)
        return Recommendation(
            request_id,
            model.bundle_version,
            tuple(
                RecommendedItem(item_id, score, sources, reason, explanation)
                for item_id, score, sources, (reason, explanation) in columns
            ),
        )
