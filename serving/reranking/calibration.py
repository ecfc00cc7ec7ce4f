"""Lists that hold each category as often as the user's history does."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.reranking.caps import NO_GROUP
from serving.reranking.greedy import Floats

Categories = npt.NDArray[np.int32]

PRIOR = 1.0
"""Places that count as given out in the user's mix before the first is."""


class CategoryMix(NamedTuple):
    """categories: int32 [k], ascending; shares: float64 [k], their part of a history, sum 1."""

    categories: Categories
    shares: Floats


def category_mix(categories: Categories) -> CategoryMix:
    """Return the mix of a history's categories int32 [events]; events without one do not count."""
    counts = np.bincount(categories, minlength=NO_GROUP + 1)
    counts[NO_GROUP] = 0
    known = np.flatnonzero(counts)
    return CategoryMix(known.astype(np.int32), counts[known] / max(int(counts.sum()), 1))


class CalibrationGain:
    """By how much a candidate lowers the divergence of the list from the user's mix.

    Steck, "Calibrated Recommendations", RecSys 2018: the Kullback-Leibler divergence of the
    list's mix q from the user's p. Where he smooths q by a share of p, here `PRIOR` places are
    added in the proportions of p: the gain of a category then depends on its own count alone,
    and the greedy list has the least divergence that its length allows. Gains are of the
    divergence times the length, which grows with the list as the sum of relevance does.

    categories: int32 [n], those of the candidates.
    """

    def __init__(self, categories: Categories, mix: CategoryMix) -> None:
        # One place more for all that the user has no interest in.
        self._shares: list[float] = [*mix.shares.tolist(), 0.0]
        if len(mix.categories):
            places = np.minimum(
                np.searchsorted(mix.categories, categories), len(mix.categories) - 1
            )
            wanted = mix.categories[places] == categories
        else:
            places, wanted = np.zeros(len(categories), np.int64), np.zeros(len(categories), bool)
        self._places = np.where(wanted, places, len(mix.categories))
        self._counts = [0] * len(self._shares)
        self._chosen = 0
        self._of_category = np.array([self._gain(place) for place in range(len(self._shares))])

    def gains(self) -> Floats:
        """Return float64 [n], at least 0."""
        gains: Floats = self._of_category.take(self._places)
        gains *= self._chosen + PRIOR
        return gains

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        place = int(self._places[candidate])
        self._counts[place] += 1
        self._chosen += 1
        self._of_category[place] = self._gain(place)

    def _gain(self, place: int) -> float:
        share = self._shares[place]
        if share == 0.0:
            return 0.0
        return share * math.log1p(1.0 / (self._counts[place] + PRIOR * share))
