"""The one object both edges call: from a request to a ranked list."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import numpy.typing as npt

from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import OnlineFeatures
from feature_repo.schema import microseconds
from serving.candidates import Scores
from serving.catalogue import Catalogue
from serving.explaining import Explainer
from serving.item_rows import Mask, Rows
from serving.live_model import LiveModel, ModelHolder
from serving.ranking.ranking_stage import Ranked, RankingStage
from serving.requests import (
    Explanation,
    Recommendation,
    RecommendedItem,
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
    UnknownItemError,
)
from serving.reranking.placement import EXPLORED
from serving.reranking.reranker import Reranker
from serving.settings import ServingSettings
from serving.sources.candidate_source import CandidateSource, Context
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.new_arrivals import CatalogueSource, NewArrivalsSource
from serving.sources.popular import PopularSource
from serving.sources.trending import TrendingSource
from serving.user_acts import UserActs
from serving.user_query import UserQueryReader, seen_items

SIMILAR = "similar"

LEAST_COSINE = np.float32(1e-6)
"""What is less alike than this is not told apart by a factor."""


class Recommender:
    """Answers requests from many threads. Every list is made by one `LiveModel`.

    A list has `limit` items wherever that many may be shown: what the sources that know the
    user leave open is filled from what is popular, what is new, and the catalogue in its order.
    """

    def __init__(
        self,
        holder: ModelHolder,
        catalogue: Catalogue,
        online: OnlineFeatures,
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
        self._new_arrivals = NewArrivalsSource(self._settings)
        self._reranker = Reranker(self._settings, "recommend")
        self._similar_reranker = Reranker(self._settings, "similar")
        self._trending_reranker = Reranker(self._settings, "trending")
        self._trending = trending
        # Lists that are computed at once take longer, and in all no less: every operation of NumPy
        # on many numbers lets go of Python's lock, and waits until it has it back.
        self._computing = threading.Lock()
        self._explainer = Explainer(self._stage, catalogue)
        # Whatever trends is popular too: behind it, what trends is found where it is asked alone.
        self._fallback: tuple[CandidateSource, ...] = (
            PopularSource(trending, self._settings),
            trending,
            self._new_arrivals,
            CatalogueSource(),
        )

    def recommend(self, request: RecommendRequest) -> Recommendation:
        """Return the best items for a user or a session; an unknown user gets what is popular.

        Raises `InvalidArgumentError` for a filter that is none.
        """
        at, model = self._clock(), self._holder.current
        request = self._reranker.completed(request)
        user = self._queries.read(
            request,
            model,
            microseconds(at),
            with_events=self._stage.reads_events(model, request.sources),
        )
        hidden = [*request.exclude_item_ids, *request.context_item_ids]
        hidden += seen_items(user.events, request.exclude_seen)
        context = self._context(model, request.filter, hidden, user.embedding, at)
        acts = UserActs.of(user.events, self._catalogue.rows)
        context = replace(context.of_user(user.events, acts), sources=request.sources)
        ranked = self._reranked(
            self._reranker,
            context,
            request,
            rank=self._scored,
            # Where nothing is known of the user, scores are counts of events.
            to_logarithms=_unchanged if context.query is not None else np.log1p,
            score_of=partial(self._stage.two_tower.score_of, context),
        )
        page = ranked.page(request.offset, request.limit)
        explained = self._explainer.explain(page, context) if request.explain else None
        return self._answer(request.request_id, model, page, explained)

    def similar(self, request: SimilarRequest) -> Recommendation:
        """Return the items nearest to one by cosine. Raises `UnknownItemError`."""
        at, model = self._clock(), self._holder.current
        taste = model.space.tastes(self._item_embedding(request.item_id, model, at)[None, :])[0]
        # Where the bundle has a coordinate of popularity, this query asks nothing of it.
        query = np.pad(taste, (0, model.table.dimension - len(taste)))
        hidden = [*request.exclude_item_ids, request.item_id]
        context = self._context(model, request.filter, hidden, query, at)

        def cosines(rows: Rows) -> Scores:
            embeddings, _ = model.table.embeddings_of_rows(rows)
            return np.asarray(model.space.tastes(embeddings) @ taste, dtype=np.float32)

        def nearest(context: Context, count: int) -> Ranked:
            reordered = self._settings.rerank_size
            found = self._stage.two_tower.propose(context, max(count, reordered))
            scores = cosines(found.rows)
            # A fixed number is re-ordered, so that a later page continues an earlier one.
            order = np.argsort(-scores[:reordered], kind="stable")
            order = np.concatenate([order, np.arange(len(order), len(scores))])[:count]
            return Ranked(found.rows[order], scores[order], [(SIMILAR,)] * len(order))

        ranked = self._reranked(
            self._similar_reranker,
            context,
            RecommendRequest(request.request_id, limit=request.limit, offset=request.offset),
            rank=nearest,
            # A factor makes an item so many times as near.
            to_logarithms=lambda scores: np.log(np.maximum(scores, LEAST_COSINE)),
            score_of=cosines,
        )
        page = ranked.page(request.offset, request.limit)
        return self._answer(request.request_id, model, page)

    def trending(self, request: TrendingRequest) -> Recommendation:
        """Return what is acted on most at present, filled up with the newest items."""
        at, model = self._clock(), self._holder.current
        context = self._context(model, request.filter, request.exclude_item_ids, None, at)
        if request.category is not None:
            quoted = request.category.replace("'", "''")
            in_category = context.view.allowed(f"'{quoted}' = ANY(categories)")
            context = replace(context, allowed=context.allowed & in_category)
        empty = Ranked(np.empty(0, np.int64), np.empty(0, np.float32), [])
        ranked = self._reranked(
            self._trending_reranker,
            context,
            RecommendRequest(request.request_id, limit=request.limit, offset=request.offset),
            rank=partial(self._filled, empty, by=self._fallback[1:]),
            to_logarithms=np.log1p,
            score_of=partial(self._trending.score_of, at=at),
        )
        page = ranked.page(request.offset, request.limit)
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
        allowed: Mask = view.allowed(sql)
        rows = self._catalogue.rows.known(hidden)
        if len(rows):
            allowed = allowed.copy()
            allowed[rows[rows < len(allowed)]] = False
        return Context(model, view, allowed, sql is not None, query, at)

    def _reranked(
        self,
        reranker: Reranker,
        context: Context,
        request: RecommendRequest,
        *,
        rank: Callable[[Context, int], Ranked],
        to_logarithms: Callable[[Scores], Scores],
        score_of: Callable[[Rows], Scores],
    ) -> Ranked:
        """Return the list of a request, from its first place to the end of its page.

        rank: the best so many of what a context allows; more of them follow after the same first.
        to_logarithms: makes its scores what a boost adds to. score_of: the scores of rows that are
        not in it.
        """

        def propose(mask: Mask, count: int) -> Rows:
            allowed = context.allowed & mask
            return rank(replace(context, allowed=allowed, filtered=True), count).rows

        with self._computing:
            ranked = rank(context, reranker.num_candidates(request, context.at))
            scores = to_logarithms(ranked.scores)
            placed = reranker.rerank(ranked.rows, scores, context, request, propose)
        place_of = {row: place for place, row in enumerate(ranked.rows.tolist())}
        places = [place_of.get(row, -1) for row in placed.rows.tolist()]
        outside = np.array(places, dtype=np.int64) < 0
        new_scores = np.append(ranked.scores, np.float32(0))[places]
        if outside.any():
            new_scores[outside] = score_of(placed.rows[outside])
        sources = [ranked.sources[place] if place >= 0 else () for place in places]
        for place, origin in placed.origins.items():
            by = sources[place] or ((self._new_arrivals.name,) if origin == EXPLORED else ())
            sources[place] = (*by, origin)
        return Ranked(placed.rows, new_scores, sources)

    def _scored(self, context: Context, count: int) -> Ranked:
        return self._filled(self._stage.rank(context, count), context, count, by=self._fallback)

    def _filled(
        self, ranked: Ranked, context: Context, needed: int, by: Sequence[CandidateSource]
    ) -> Ranked:
        """Return `ranked` with `needed` rows, as far as these sources have them, one by one."""
        for source in by:
            if context.sources is not None and source.name not in context.sources:
                continue
            missing = needed - len(ranked.rows)
            if missing <= 0:
                break
            allowed = context.allowed.copy()
            allowed[ranked.rows] = False
            found = source.propose(replace(context, allowed=allowed), missing)
            # Scores of different sources do not compare: what follows ranks below.
            floor = float(ranked.scores[-1]) if len(ranked.scores) else np.inf
            ranked = Ranked(
                np.concatenate([ranked.rows, found.rows]),
                np.concatenate([ranked.scores, np.minimum(found.scores, np.float32(floor))]),
                ranked.sources + [(source.name,)] * len(found.rows),
            )
        return ranked

    def _item_embedding(
        self, item_id: str, model: LiveModel, at: datetime
    ) -> npt.NDArray[np.float32]:
        item = self._catalogue.get(item_id)
        if item is None:
            raise UnknownItemError(item_id)
        embeddings, found = model.embeddings_of([item_id])
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


def _unchanged(scores: Scores) -> Scores:
    return scores
