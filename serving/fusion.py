"""One list from several sources: a mixture of their probabilities, their ranks, or their votes.

The two-tower is trained as a softmax, so its scores are logarithms of how probably an item is
acted on next, up to a constant. Co-visitation and trending give shares of what was acted on. So
they are mixed as the probabilities they are: p = (1 - Σ w_s) p_two_tower + Σ w_s p_s, with a
weight per source (a linear opinion pool, Stone 1961). A weight is read as the share of the next
events that the source explains, whatever the scale of any model's scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows, places_among

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one source says of the pool.

    weight: of the source, 0..1. shares: float64 [n], how probable it holds each candidate of
    the pool; they sum to 1, or to 0 where it proposes none of them.
    """

    weight: float
    shares: Floats


def mixed_scores(
    scores: npt.NDArray[np.float32], sources: Sequence[Share]
) -> npt.NDArray[np.float32]:
    """Return the two-tower scores float32 [n] at which the mixture would be what it is.

    So without other sources the scores stay as they are.
    """
    sources = [source for source in sources if source.shares.any()]
    if not len(scores) or not sources:
        return scores
    top = float(scores.max())
    probabilities = np.exp(scores.astype(np.float64) - top)
    total = probabilities.sum()
    mixed = (1 - sum(source.weight for source in sources)) * probabilities
    for source in sources:
        mixed = mixed + source.weight * total * source.shares
    return (np.log(np.maximum(mixed, np.finfo(np.float64).tiny)) + top).astype(np.float32)


def shares_of(pool: Rows, rows: Rows, scores: npt.NDArray[np.float32]) -> Floats:
    """Return float64 [len(pool)], what each row has of the sum of `scores`, none being negative.

    pool: distinct rows, ascending. Rows that are not in it are left out.
    """
    shares = _at(pool, rows, scores.astype(np.float64))
    total = shares.sum()
    return shares / total if total > 0 else shares


RANK_CONSTANT = 60.0
"""Of reciprocal rank fusion, as its authors chose it."""


def reciprocal_rank_scores(
    pool: Rows, proposals: Mapping[str, Rows], weights: Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """Return float32 [len(pool)], the weighted sum of 1 / (60 + rank) over who proposes each row.

    pool: distinct rows, ascending. proposals: rows by source, best first. A source without a
    weight does not count. Cormack, Clarke and Buettcher, SIGIR 2009.
    """
    scores = np.zeros(len(pool))
    for name, rows in proposals.items():
        ranks = np.arange(1, len(rows) + 1)
        scores += weights.get(name, 0.0) * _at(pool, rows, 1 / (RANK_CONSTANT + ranks))
    return scores.astype(np.float32)


def votes(
    pool: Rows, proposals: Mapping[str, Rows], weights: Mapping[str, float]
) -> npt.NDArray[np.float32]:
    """Return float32 [len(pool)], the sum of the weights of those who propose each row.

    Equal sums go by reciprocal rank, which adds less than any vote.
    """
    scores = reciprocal_rank_scores(pool, proposals, weights) * 1e-3
    for name, rows in proposals.items():
        scores += _at(pool, rows, np.full(len(rows), weights.get(name, 0.0)))
    return scores.astype(np.float32)


def _at(pool: Rows, rows: Rows, values: Floats) -> Floats:
    """Return float64 [len(pool)], the value of each row of `pool`, 0 where it has none."""
    placed = np.zeros(len(pool))
    places = places_among(pool, rows)
    found = places >= 0
    placed[places[found]] = values[found]
    return placed
