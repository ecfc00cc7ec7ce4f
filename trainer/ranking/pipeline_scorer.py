"""The whole list as the service would make it, as a scorer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from serving.candidates import Candidates
from serving.ranking.list_rankings import GivenRanking
from serving.requests import ListRequest
from serving.reranking.reranker import Reranker
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from trainer.baselines import Indices, Scores
from trainer.ranking.past_shop import PastShop

PLACES = 20
"""How many places are re-ranked: metrics look no further."""


class _Lists(ABC):
    """A `ListScorer` to whom an open list is one from which nothing is left out."""

    def score(self, users: Indices) -> Scores:
        """Return float32 [len(users), num_items]."""
        return self.score_without(users, [np.empty(0, np.int64)] * len(users))

    @abstractmethod
    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores: ...


class PipelineScorer(_Lists):
    """Candidates of all sources in the order of the ranking stage; all other items behind them.

    The others keep the order that the two-tower gives them. Users without events get what the
    service shows to strangers. queries: gives the query embeddings, float32 [len(users),
    dimension], of users.
    """

    def __init__(self, name: str, shop: PastShop, queries: Callable[[Indices], Scores]) -> None:
        self.name = name
        self.shop = shop
        self._queries = queries

    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores:
        """Return float32 [len(users), num_items], as for requests with `exclude_seen`.

        What is excluded but too long ago for a service to know of, it would show.
        """
        return np.stack([scores for _, scores in self.answers(users, excluded)])

    def answers(self, users: Indices, excluded: Sequence[Indices]) -> list[tuple[Context, Scores]]:
        """Return for each user the context of the request, and float32 [num_items].

        excluded: by user, items that may not be shown.
        """
        queries = self._queries(users)
        hidden = [
            np.intersect1d(each, self.shop.seen(user))
            for user, each in zip(users.tolist(), excluded, strict=True)
        ]
        contexts = map(self.shop.context, users.tolist(), queries, hidden)
        return [(context, self._scores_of(context)) for context in contexts]

    def _scores_of(self, context: Context) -> Scores:
        if not len(context.acts):
            return self._for_a_stranger(context)
        stage = self.shop.stage
        pool, scores = stage.scored(context)
        every = stage.two_tower.score_of(context, np.arange(self.shop.num_items))
        every -= every.max(initial=0) + 1 - scores.min(initial=0)
        every[pool.rows] = scores
        return every

    def _for_a_stranger(self, context: Context) -> Scores:
        count = self.shop.num_items
        found = [source.propose(context, count).rows for source in self.shop.fallback]
        # Minus the first place at which any of them has the row.
        rows, first = np.unique(np.concatenate(found), return_index=True)
        scores = np.full(count, -3.0 * count, dtype=np.float32)
        scores[rows] = -first
        return scores


class CrossFittedScorer(_Lists):
    """Two pipelines, so that nobody is asked by the one that the user has taught.

    first: int64, the users who taught `by_first`; the others taught `by_others`.
    """

    def __init__(
        self, name: str, first: Indices, by_first: PipelineScorer, by_others: PipelineScorer
    ) -> None:
        self.name = name
        self._first = first
        self._by_first, self._by_others = by_first, by_others

    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores:
        """Return float32 [len(users), num_items], as for requests with `exclude_seen`."""
        scores = np.empty((len(users), self._by_first.shop.num_items), np.float32)
        is_first = np.isin(users, self._first)
        for asked, pipeline in ((is_first, self._by_others), (~is_first, self._by_first)):
            if asked.any():
                hidden = [excluded[row] for row in np.flatnonzero(asked).tolist()]
                scores[asked] = pipeline.score_without(users[asked], hidden)
        return scores


class RerankedScorer(_Lists):
    """The first `PLACES` of a pipeline's list as the service re-ranks them, the others behind."""

    def __init__(self, name: str, pipeline: PipelineScorer, settings: ServingSettings) -> None:
        self.name = name
        self._pipeline = pipeline
        # A shop's rules are no part of how good its lists are.
        self._reranker = Reranker(
            settings.model_copy(update={"rules": ()}), pipeline.shop.stage.new_arrivals
        )

    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores:
        """Return float32 [len(users), num_items], as for requests with `exclude_seen`."""
        answers = zip(self._pipeline.answers(users, excluded), excluded, strict=True)
        return np.stack([self._reranked(*answer, hidden) for answer, hidden in answers])

    def _reranked(self, context: Context, scores: Scores, hidden: Indices) -> Scores:
        order = np.argsort(-scores, kind="stable")
        rows = order[~np.isin(order, hidden)]
        request = self._reranker.completed(ListRequest("", limit=PLACES))
        ranking = GivenRanking(Candidates(rows, scores[rows]))
        placed = self._reranker.rerank(ranking, context, request).rows
        scores = scores.copy()
        scores[placed] = scores.max() + np.arange(len(placed), 0, -1, dtype=np.float32)
        return scores
