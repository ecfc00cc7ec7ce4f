"""One list from several sources: a mixture of their probabilities.

The two-tower is trained as a softmax, so its scores are logarithms of how probably an item is
acted on next, up to a constant. Co-visitation and trending give shares of what was acted on. So
they are mixed as the probabilities they are: p = (1 - Σ w_s) p_two_tower + Σ w_s p_s, with a
weight per source (a linear opinion pool, Stone 1961). A weight is read as the share of the next
events that the source explains, whatever the scale of any model's scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one source says of the pool.

    weight: of the source, 0..1. shares: float64 [n], how probable it holds each candidate of
    the pool; they sum to 1, or to 0 where it proposes none of them.
    """

    weight: float
    shares: Floats


def fused_scores(
    scores: npt.NDArray[np.float32], sources: Sequence[Share]
) -> npt.NDArray[np.float32]:
    """Return the two-tower scores float32 [n] at which the mixture would be what it is.

    So without other sources the scores stay as they are.
    """
    if not len(scores):
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
    shares = np.zeros(len(pool))
    if len(pool):
        places = np.minimum(np.searchsorted(pool, rows), len(pool) - 1)
        found = pool[places] == rows
        shares[places[found]] = scores[found]
    total = shares.sum()
    return shares / total if total > 0 else shares
