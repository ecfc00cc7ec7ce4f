"""The simple recommenders that every evaluation prints beside the model.

A baseline is a class that fits in its constructor, `Baseline(past, histories, **parameters)`,
and is a `Scorer` from then on. `histories` are what is known of the users when they are asked
about; the default is the past.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from trainer.baselines.buy_again import BuyAgain, people_return_to_items
from trainer.baselines.decay import Decay, LastDays, NoDecay, PositionDecay, TimeDecay
from trainer.baselines.ease import Ease
from trainer.baselines.embedding_scorer import EmbeddingScorer
from trainer.baselines.implicit_als import ImplicitAls
from trainer.baselines.item_knn import ItemKnn
from trainer.baselines.newest_first import NewestFirst, is_of_fresh_items
from trainer.baselines.popularity import Popularity
from trainer.baselines.recency_knn import RecencyKnn
from trainer.baselines.scorer import (
    FitScorer,
    Indices,
    ListScorer,
    Scorer,
    Scores,
    scores_without,
)
from trainer.baselines.weighted_sum import WeightedSum
from trainer.interactions import Interactions

__all__ = [
    "RECENT_DAYS",
    "BuyAgain",
    "Decay",
    "Ease",
    "EmbeddingScorer",
    "FitScorer",
    "ImplicitAls",
    "Indices",
    "ItemKnn",
    "LastDays",
    "ListScorer",
    "NewestFirst",
    "NoDecay",
    "Popularity",
    "PositionDecay",
    "RecencyKnn",
    "Scorer",
    "Scores",
    "TimeDecay",
    "WeightedSum",
    "baselines",
    "people_return_to_items",
    "scores_without",
    "timeless_baselines",
]

RECENT_DAYS = 14

# What is popular, as a share of at most one, comes behind whatever one has acted on.
_own_then_popular = partial(
    WeightedSum,
    name="own items, then popular",
    parts=((partial(BuyAgain, decay=NoDecay()), 1.0), (Popularity, 0.5)),
)


def baselines(
    past: Interactions,
    histories: Interactions | None = None,
    moments: npt.NDArray[np.int64] | None = None,
) -> Sequence[Scorer]:
    """Return the baselines that cost next to nothing: popularity, recent popularity, item-kNN.

    Where most of what the past acted on was fresh, as news are, the popularity of the last day and
    the newest items too: there, the others know only what nobody reads any more. Where people
    come back to items instead, as to groceries, each user's own items by how often, and then what
    is popular: GP-TopFreq (Li et al., "A Next Basket Recommendation Reality Check", TOIS 2023,
    arXiv:2109.14233).

    moments: as of `NewestFirst`.
    """
    popularity, *others = timeless_baselines(past, histories)
    of_shop: tuple[Scorer, ...] = ()
    if is_of_fresh_items(past):
        of_shop = Popularity(past, days=1), NewestFirst(past, histories, moments=moments)
    elif people_return_to_items(past):
        of_shop = (_own_then_popular(past, histories),)
    return (popularity, Popularity(past, days=RECENT_DAYS), *of_shop, *others)


def timeless_baselines(
    past: Interactions, histories: Interactions | None = None
) -> Sequence[Scorer]:
    """Return those of `baselines` that make sense where timestamps are positions, not times."""
    return (Popularity(past), ItemKnn(past, histories))
