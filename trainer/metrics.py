"""Ranking metrics over full rankings, with ties at mid-rank.

An item's rank is 1 + the number of items that score higher + half the number of others that
score the same. So a scorer that gives every item one score is as good as chance, and no order
of the catalogue can flatter it. Definitions follow Krichene and Rendle, KDD 2020
(https://doi.org/10.1145/3394486.3403226), who also show why all items must be ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RankedRelevant:
    """Where the relevant items of one user stand among the items that could be shown.

    ranks: float64 [num_relevant], ascending mid-ranks from 1 on; num_candidates: how many
    items were ranked, the relevant ones included.
    """

    ranks: Floats
    num_candidates: int


def rank_relevant(
    scores: npt.NDArray[np.float32], relevant: Indices, excluded: Indices
) -> RankedRelevant:
    """Rank `relevant` by scores float32 [num_items], `excluded` items being left out.

    Raises ValueError where an item is both relevant and excluded, or a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("`scores` must be numbers. Received: NaN.")
    kept = np.ones(len(scores), dtype=bool)
    kept[excluded] = False
    if not kept[relevant].all():
        raise ValueError("`relevant` and `excluded` must not share an item.")
    ordered = np.sort(scores[kept])
    own = scores[relevant]
    below = np.searchsorted(ordered, own, side="left")
    not_above = np.searchsorted(ordered, own, side="right")
    ranks = 1 + (len(ordered) - not_above) + (not_above - below - 1) / 2
    return RankedRelevant(np.sort(ranks), len(ordered))


def ndcg(ranked: RankedRelevant, k: int) -> float:
    """Normalised discounted cumulative gain, the ideal being min(k, num_relevant) hits."""
    gains = 1 / np.log2(1 + ranked.ranks[ranked.ranks <= k])
    ideal = 1 / np.log2(2 + np.arange(min(k, len(ranked.ranks))))
    return float(gains.sum() / ideal.sum())


def recall(ranked: RankedRelevant, k: int) -> float:
    """Share of min(k, num_relevant) relevant items within rank k."""
    return _hits(ranked, k) / min(k, len(ranked.ranks))


def precision(ranked: RankedRelevant, k: int) -> float:
    """Share of k places held by relevant items."""
    return _hits(ranked, k) / k


def f1(ranked: RankedRelevant, k: int) -> float:
    """Harmonic mean of precision and plain recall (over all relevant items) at k."""
    hits = _hits(ranked, k)
    return 2 * hits / (k + len(ranked.ranks))


def hit_rate(ranked: RankedRelevant, k: int) -> float:
    """Whether any relevant item is within rank k."""
    return float(_hits(ranked, k) > 0)


def reciprocal_rank(ranked: RankedRelevant) -> float:
    """One over the rank of the first relevant item."""
    return float(1 / ranked.ranks[0])


def auc(ranked: RankedRelevant) -> float:
    """Probability that a relevant item stands above an irrelevant one; 1 if there is none."""
    num_relevant = len(ranked.ranks)
    num_irrelevant = ranked.num_candidates - num_relevant
    if num_irrelevant == 0:
        return 1.0
    irrelevant_above = ranked.ranks.sum() - num_relevant * (num_relevant + 1) / 2
    return float(1 - irrelevant_above / (num_relevant * num_irrelevant))


def _hits(ranked: RankedRelevant, k: int) -> int:
    return int((ranked.ranks <= k).sum())


def top_k(scores: npt.NDArray[np.float32], k: int) -> Indices:
    """Return int64 [num_users, k], the best items of scores [num_users, num_items], best first."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int64)


def coverage(lists: Indices, num_items: int) -> float:
    """Share of the catalogue that stands in at least one of the lists [num_users, k]."""
    return len(np.unique(lists)) / num_items


def gini(lists: Indices, num_items: int) -> float:
    """Gini index of how often each item is listed: 0 all alike, near 1 a few items only."""
    exposure = np.sort(np.bincount(lists.ravel(), minlength=num_items)).astype(np.float64)
    index = np.arange(1, num_items + 1)
    return float(((2 * index - num_items - 1) * exposure).sum() / (num_items * exposure.sum()))


def intra_list_diversity(lists: Indices, features: npt.NDArray[np.float32]) -> float:
    """Mean over lists of 1 - cosine over pairs of their items; features [num_items, n]."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.where(norms > 0, norms, 1)
    k = lists.shape[1]
    if k < 2:
        return 0.0
    sums = np.array([directions[row].sum(axis=0) for row in lists])
    own = np.array([(directions[row] ** 2).sum() for row in lists])
    similarity = ((sums**2).sum(axis=1) - own) / (k * (k - 1))
    return float(1 - similarity.mean())


def mean_of(values: Sequence[float]) -> float:
    """Mean, NaN of nothing."""
    return float(np.mean(values)) if values else float("nan")
