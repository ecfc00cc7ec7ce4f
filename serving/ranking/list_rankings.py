"""How each kind of list is ranked, before it is re-ranked."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.candidates import Candidates, Scores
from serving.ranking.fusion import logarithms
from serving.ranking.ranked import NOTHING_RANKED, Ranked
from serving.ranking.ranking_stage import RankingStage
from serving.source_names import SIMILAR
from serving.sources.candidate_source import CandidateSource, Context
from serving.sources.trending import TrendingSource
from serving.sources.two_tower import TwoTowerSource

LEAST_COSINE = np.float32(1e-6)
"""Cosines below this count as this, so that they have a logarithm."""


class UserRanking:
    """For a user: what the ranking stage finds, filled up by the `fallback` sources in turn."""

    def __init__(self, stage: RankingStage, fallback: Sequence[CandidateSource]) -> None:
        self._stage = stage
        self._fallback = fallback

    def rank(self, context: Context, count: int) -> Ranked:
        """Return up to `count` of the allowed rows, most probable first."""
        return _filled(self._stage.rank(context, count), context, count, self._fallback)

    def logarithms(self, ranked: Ranked) -> Scores:
        """Return the scores; where they are counts or sums of weights, the logarithms of these."""
        return _logarithms(ranked.scores) if ranked.counted else ranked.scores


class SimilarRanking:
    """Items like one item, by cosine.

    taste: float32 [num_tastes], a unit vector, the item's; a context's query begins with it.
    """

    def __init__(self, two_tower: TwoTowerSource, taste: npt.NDArray[np.float32]) -> None:
        self._two_tower = two_tower
        self._taste = taste

    def rank(self, context: Context, count: int) -> Ranked:
        """Return up to `count` of the allowed rows, nearest first."""
        cosines = partial(context.model.space.cosines, taste=self._taste)
        found = self._two_tower.nearest_by(cosines, context, count)
        return Ranked(found.rows, found.scores, [(SIMILAR,)] * len(found))

    def logarithms(self, ranked: Ranked) -> Scores:
        """Return logarithms of the cosines: a boost by a factor multiplies an item's cosine."""
        return np.log(np.maximum(ranked.scores, LEAST_COSINE))


class TrendingRanking:
    """What is acted on most at present, filled up by the `fallback` sources in turn."""

    def __init__(self, trending: TrendingSource, fallback: Sequence[CandidateSource]) -> None:
        self._sources = (trending, *fallback)

    def rank(self, context: Context, count: int) -> Ranked:
        """Return up to `count` of the allowed rows, by how often they are acted on."""
        return _filled(NOTHING_RANKED, context, count, self._sources)

    def logarithms(self, ranked: Ranked) -> Scores:
        """Return the logarithms of the counts: a boost by a factor multiplies an item's count."""
        return _logarithms(ranked.scores)


class GivenRanking:
    """Rows that were found and scored beforehand, best first; a filter leaves the allowed ones."""

    def __init__(self, found: Candidates) -> None:
        self._found = found

    def rank(self, context: Context, count: int) -> Ranked:
        """Return the first `count`."""
        rows, scores = self._found.rows, self._found.scores
        if context.filtered:
            allowed = context.allowed[rows]
            rows, scores = rows[allowed], scores[allowed]
        rows, scores = rows[:count], scores[:count]
        return Ranked(rows, scores, [()] * len(rows))

    def logarithms(self, ranked: Ranked) -> Scores:
        """Return the scores, which are logarithms."""
        return ranked.scores


def _logarithms(counts: Scores) -> Scores:
    return logarithms(counts.astype(np.float64)).astype(np.float32)


def _filled(ranked: Ranked, context: Context, needed: int, by: Sequence[CandidateSource]) -> Ranked:
    """Return `ranked` filled up to `needed` rows, as far as these sources, in turn, have more."""
    for source in by:
        if context.sources is not None and source.name not in context.sources:
            continue
        missing = needed - len(ranked.rows)
        if missing <= 0:
            break
        allowed = context.allowed.copy()
        allowed[ranked.rows] = False
        found = source.propose(replace(context, allowed=allowed), missing)
        # Scores of different sources do not compare: rows of a later source rank below.
        floor = float(ranked.scores[-1]) if len(ranked.scores) else np.inf
        # The first rows set the scale: scores of later rows are cut to the last score before them.
        ranked = Ranked(
            np.concatenate([ranked.rows, found.rows]),
            np.concatenate([ranked.scores, np.minimum(found.scores, np.float32(floor))]),
            [*ranked.sources, *([(source.name,)] * len(found.rows))],
            counted=ranked.counted or not len(ranked.rows),
        )
    return ranked
