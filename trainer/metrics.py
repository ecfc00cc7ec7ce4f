"""Ranking metrics over full rankings, with ties at mid-rank.

An item's rank is 1 + the number of items that score higher + half the number of others that
score the same: its mean rank over all orders of the tied items. Several relevant items that tie
get the mean rank of the first of them, of the second, and so on, which are evenly spaced over the
tie. So the order of the catalogue cannot help a scorer that does not tell items apart, and every
metric stays within its bounds. "Within k" means that fewer than k items rank above, where a tied
one counts half.

All items must be ranked, not a sample: Krichene and Rendle, KDD 2020
(https://doi.org/10.1145/3394486.3403226). On ties: McSherry and Najork, ECIR 2008
(https://doi.org/10.1007/978-3-540-78646-7_38).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

RESAMPLES = 2_000
"""How often the users are drawn anew for a confidence interval."""

NOBODY = -1
"""Fills a list that has fewer than k items to show."""


@dataclass(frozen=True, slots=True)
class RankedRelevant:
    """The ranks of one user's relevant items among the items that could be shown.

    ranks: float64 [num_relevant], ascending mid-ranks from 1 on; num_candidates: how many
    items were ranked, the relevant ones included.
    """

    ranks: Floats
    num_candidates: int


def rank_relevant(
    scores: npt.NDArray[np.float32], relevant: Indices, excluded: Indices
) -> RankedRelevant:
    """Rank `relevant`, distinct items, by scores float32 [num_items] without `excluded`.

    Raises ValueError where nothing is relevant, an item is both relevant and excluded, or a
    score is NaN.
    """
    if len(relevant) == 0:
        raise ValueError("`relevant` must hold at least one item. Received: none.")
    if np.isnan(scores).any():
        raise ValueError("`scores` must be numbers. Received: NaN.")
    kept = np.ones(len(scores), dtype=bool)
    kept[excluded] = False
    if not kept[relevant].all():
        raise ValueError("`relevant` and `excluded` must not share an item.")
    ordered = np.sort(scores[kept])
    own = np.sort(scores[relevant])
    not_above = np.searchsorted(ordered, own, side="right")
    above, tied = len(ordered) - not_above, not_above - np.searchsorted(ordered, own, side="left")
    last = np.searchsorted(own, own, side="right")
    tied_relevant = last - np.searchsorted(own, own, side="left")
    # The mean of the j-th smallest of m ranks drawn out of 1..t is j (t + 1) / (m + 1).
    which = last - np.arange(len(own))
    ranks = above + which * (tied + 1) / (tied_relevant + 1)
    return RankedRelevant(ranks[::-1], len(ordered))


def ndcg(ranked: RankedRelevant, k: int) -> float:
    """Normalised discounted cumulative gain, the ideal being min(k, num_relevant) hits."""
    gains = 1 / np.log2(1 + ranked.ranks[_within(ranked, k)])
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


def _within(ranked: RankedRelevant, k: int) -> npt.NDArray[np.bool_]:
    return ranked.ranks - 1 < k


def _hits(ranked: RankedRelevant, k: int) -> int:
    return int(_within(ranked, k).sum())


def top_k(scores: npt.NDArray[np.float32], k: int) -> Indices:
    """Return int64 [num_users, k], the best items of scores [num_users, num_items], best first.

    A score of -inf keeps an item out; `NOBODY` fills a list that comes out short.
    """
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    own = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-own, axis=1, kind="stable")
    best = np.where(np.isneginf(own), NOBODY, best)
    return np.take_along_axis(best, order, axis=1).astype(np.int64)


def coverage(lists: Indices, num_items: int) -> float:
    """Share of the catalogue that stands in at least one of the lists [num_users, k]."""
    return len(np.unique(lists[lists != NOBODY])) / num_items


def gini(lists: Indices, num_items: int) -> float:
    """Gini index of how often each item is listed: 0 if all equally, near 1 if only a few are."""
    exposure = np.sort(np.bincount(lists[lists != NOBODY], minlength=num_items)).astype(np.float64)
    index = np.arange(1, num_items + 1)
    total = num_items * exposure.sum()
    return float(((2 * index - num_items - 1) * exposure).sum() / total) if total else 0.0


def intra_list_diversity(lists: Indices, features: npt.NDArray[np.float32]) -> float:
    """Mean over lists of 1 - cosine over pairs of their items; features [num_items, n].

    Ziegler et al., WWW 2005 (https://doi.org/10.1145/1060745.1060754). A list of one item has
    no pair and is left out; 0 where all are.
    """
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    directions = np.zeros((len(features) + 1, features.shape[1]), dtype=np.float32)
    # Row -1, that of `NOBODY`, stays zero and adds nothing to a sum.
    directions[:-1] = features / np.where(norms > 0, norms, 1)
    sizes = (lists != NOBODY).sum(axis=1)
    lists, pairs = lists[sizes > 1], (sizes * (sizes - 1))[sizes > 1]
    if len(lists) == 0:
        return 0.0
    sums = np.array([directions[row].sum(axis=0) for row in lists])
    own = np.array([(directions[row] ** 2).sum() for row in lists])
    return float(1 - (((sums**2).sum(axis=1) - own) / pairs).mean())


def labels_per_list(lists: Indices, labels: sparse.csr_array) -> float:
    """Mean over lists of how many distinct labels their items have; 0 without lists.

    labels: [num_items, num_labels], above 0 where the item has the label.
    """
    if len(lists) == 0:
        return 0.0
    users, places = np.nonzero(lists != NOBODY)
    shown = sparse.csr_array(
        (np.ones(len(users), np.float32), (users, lists[users, places])),
        shape=(len(lists), labels.shape[0]),
    )
    return float(np.diff((shown @ labels).indptr).mean())


def mean_of(values: Sequence[float]) -> float:
    """Return the mean, NaN where there are no values."""
    return float(np.mean(values)) if values else float("nan")


def mean_interval(values: Sequence[float], random: np.random.Generator) -> tuple[float, float]:
    """Return the mean's 95 % interval by percentile bootstrap (Efron, 1979); NaN without values.

    It says how much the mean would move with other users of the same kind, not with another model
    trained on the same data.
    """
    if len(values) < 2:
        return mean_of(values), mean_of(values)
    interval = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        # So many values are drawn at once as fit into 64 MB.
        batch=max(1, 8_000_000 // len(values)),
        confidence_level=0.95,
        method="percentile",
        rng=random,
    ).confidence_interval
    # Where nearly all values are equal, rounding may swap the ends.
    low, high = sorted((float(interval.low), float(interval.high)))
    return low, high
