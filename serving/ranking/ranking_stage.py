"""From what all sources propose to one scored list."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from serving.candidates import Scores
from serving.item_rows import Rows
from serving.live_model import LiveModel
from serving.ranking.attribution import feature_effects
from serving.ranking.calibrated_fusion import CalibratedFusion, Fusion, fusion_of
from serving.ranking.features import ranking_features
from serving.ranking.fusion import (
    logarithms,
    mixed_scores,
    reciprocal_ranks,
    votes,
)
from serving.ranking.pool import Pool
from serving.ranking.ranked import NOTHING_RANKED, Ranked
from serving.ranking.ranker import Ranker
from serving.requests import FeatureEffect
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from serving.sources.buy_again import BuyAgainSource
from serving.sources.candidate_source import CandidateSource, Context, HistorySource
from serving.sources.category import CategorySource
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.learned_neighbours import LearnedNeighboursSource
from serving.sources.new_arrivals import NewArrivalsSource
from serving.sources.trending import TrendingSource
from serving.sources.two_tower import TwoTowerSource


class RankingStage:
    """Asks every source, and orders what any of them proposes. Safe for many threads.

    1. Each source proposes its best, the two-tower's being the most.
    2. Every source scores all of them.
    3. The bundle's ranker orders them by these scores and by what is known of item and user;
       where it has none, or is off, a weighted fusion does. Either is a probability, which age
       halves once each `age_half_life_days`.

    sources: those that are on. of_history: those whose scores can be explained by the history.
    """

    def __init__(
        self,
        trending: TrendingSource,
        co_visitation: CoVisitationSource,
        settings: ServingSettings,
    ) -> None:
        self._settings = settings.ranking
        self._source_size = settings.ranking.source_size
        self._trending = trending
        self.two_tower = TwoTowerSource(settings)
        self.new_arrivals = NewArrivalsSource(settings)
        ease, text = LearnedNeighboursSource("ease"), LearnedNeighboursSource("text")
        transitions = LearnedNeighboursSource("transitions")
        buy_again, category = BuyAgainSource(settings), CategorySource(trending)
        self.of_history: tuple[HistorySource, ...] = (
            ease,
            transitions,
            text,
            buy_again,
            co_visitation,
        )
        self._of_events: tuple[CandidateSource, ...] = (*self.of_history, category)
        self._every: tuple[CandidateSource, ...] = (
            self.two_tower,
            ease,
            transitions,
            text,
            buy_again,
            category,
            co_visitation,
            trending,
            self.new_arrivals,
        )
        self.sources = [each for each in self._every if each.name in self._settings.sources]
        # Of the last bundle, which is mostly that of the next request.
        self._last: tuple[CalibratedFusion | None, Fusion] = None, fusion_of(self._settings, None)
        self._last_weighed: tuple[Ranker | None, Ranker | None] = None, None

    def rank(self, context: Context, count: int) -> Ranked:
        """Return up to `count` of the allowed rows; a longer list begins with a shorter one.

        The candidates do not depend on `count`, so that pages neither repeat nor miss. Behind
        them the two-tower's list goes on, where it is asked. Empty where nothing is known of the
        user. A source that the context asks alone answers with its own list.
        """
        alone = self._asked_alone(context)
        if alone is not None:
            found = alone.propose(context, count)
            proposers = [(alone.name,)] * len(found)
            counted = alone is not self.two_tower
            return Ranked(found.rows, found.scores, proposers, counted)
        if context.query is None:
            return NOTHING_RANKED
        pool, scores = self.scored(context)
        order = np.argsort(-scores, kind="stable")[:count]
        ranked = Ranked(pool.rows[order], scores[order], pool.proposers(order))
        missing = count - len(order)
        if missing > 0 and self.two_tower in self._asked(context.model, context.sources):
            return self._continued(ranked, pool, context, missing)
        return ranked

    def _continued(self, ranked: Ranked, pool: Pool, context: Context, missing: int) -> Ranked:
        """Return the whole pool, ranked, with `missing` more rows of the two-tower's list."""
        more = self.two_tower.propose(context, len(pool.rows) + missing)
        behind = np.flatnonzero(~np.isin(more.rows, pool.rows))[:missing]
        floor = ranked.scores[-1] if len(ranked.scores) else np.float32(np.inf)
        return replace(
            ranked,
            rows=np.concatenate([ranked.rows, more.rows[behind]]),
            scores=np.concatenate([ranked.scores, np.minimum(more.scores[behind], floor)]),
            sources=[*ranked.sources, *[(self.two_tower.name,)] * len(behind)],
        )

    def scored(self, context: Context) -> tuple[Pool, Scores]:
        """Return the candidates for a user something is known of, with their scores."""
        pool = self._pool(context, self._asked(context.model, context.sources))
        return pool, self.score(pool, context)

    def pool(self, context: Context) -> Pool:
        """Return what all sources propose for a user something is known of."""
        return self._pool(context, self.sources)

    def effects(self, context: Context, rows: Rows) -> dict[int, list[FeatureEffect]]:
        """Return the `feature_effects` on each of `rows` that the ranker has scored.

        Empty where no ranker orders the list.
        """
        ranker = self._ranker(context.model)
        if ranker is None or context.query is None or self._asked_alone(context) is not None:
            return {}
        pool = self._pool(context, self._asked(context.model, context.sources))
        features = self.features(pool, ranker.sources, context)
        rows = rows[np.isin(rows, pool.rows)]
        found = feature_effects(ranker, features, np.searchsorted(pool.rows, rows))
        return dict(zip(rows.tolist(), found, strict=True))

    def _pool(self, context: Context, sources: Sequence[CandidateSource]) -> Pool:
        return Pool.of(
            {
                source.name: self.two_tower.nearest(context)
                if source is self.two_tower
                else source.propose(context, self._source_size)
                for source in sources
            },
            context,
        )

    def reads_events(self, model: LiveModel, sources: Collection[str] | None = None) -> bool:
        """Return whether the user's events matter to the list, and not the query alone.

        sources: the only ones to ask; None asks those of the settings.
        """
        asked = self._asked(model, sources)
        # Features of the user and of its acts are the ranker's, whatever proposes the candidates.
        ranks = self._ranker(model) is not None and (sources is None or len(asked) > 1)
        return ranks or any(source in self._of_events for source in asked)

    def features(
        self, pool: Pool, sources: Sequence[str], context: Context
    ) -> npt.NDArray[np.float32]:
        """Return the features of the pool; a source that is off says 0 of everything."""
        scores = {name: pool.scores_of(name) for name in sources}
        return ranking_features(pool.rows, scores, context, self._trending)

    def _asked(
        self, model: LiveModel, sources: Collection[str] | None
    ) -> Sequence[CandidateSource]:
        if sources is not None:
            return [each for each in self._every if each.name in sources]
        if self._ranker(model) is not None:
            return self.sources
        # Without a ranker a source counts by its weight alone.
        weights = dict(zip(SOURCES, self._fusion(model).weights.tolist(), strict=True))
        return [each for each in self.sources if weights[each.name]]

    def _asked_alone(self, context: Context) -> CandidateSource | None:
        """Return the one source here that the context asks, where it asks just one of them."""
        if context.sources is None:
            return None
        asked = self._asked(context.model, context.sources)
        return asked[0] if len(asked) == 1 else None

    def _fusion(self, model: LiveModel) -> Fusion:
        calibrated = model.ranking.fusion if model.ranking else None
        last, fusion = self._last
        if last is not calibrated:
            fusion = fusion_of(self._settings, calibrated)
            self._last = calibrated, fusion
        return fusion

    def _ranker(self, model: LiveModel) -> Ranker | None:
        ranker = model.ranking.ranker if model.ranking and self._settings.learned else None
        if ranker is None or not self._settings.event_type_weights:
            return ranker
        last, weighed = self._last_weighed
        if last is not ranker:
            weighed = ranker.weighing(self._settings.event_type_weights)
            self._last_weighed = ranker, weighed
        return weighed

    def score(self, pool: Pool, context: Context) -> Scores:
        """Return float32 [n], by what the candidates of the pool are ordered."""
        scores = self._score(pool, context)
        if half_life := self._settings.age_half_life_days:
            halvings = context.days_since_publication(pool.rows) / half_life
            scores = (scores - np.log(2) * halvings).astype(np.float32)
        return scores

    def _score(self, pool: Pool, context: Context) -> Scores:
        ranker = self._ranker(context.model)
        if ranker is not None:
            return ranker.score(self.features(pool, ranker.sources, context))
        weights, temperature = self._fusion(context.model)
        columns = self.fusible(pool)
        if columns is not None:
            return logarithms(columns @ weights).astype(np.float32)
        two_tower = pool.scores_of(self.two_tower.name)
        return mixed_scores(pool.shares(), weights, two_tower, temperature)

    def fusible(self, pool: Pool) -> npt.NDArray[np.float64] | None:
        """Return float64 [n, len(SOURCES)]: the fusion orders by their sums, weighted.

        None where the fusion is a mixture, which is of `Pool.shares` and the two-tower's scores.
        """
        if self._settings.fusion == "voting":
            return votes(pool.rows, pool.proposals, SOURCES)
        if self._settings.fusion == "reciprocal_rank":
            return reciprocal_ranks(pool.rows, pool.proposals, SOURCES)
        return None
