"""One list from several sources: a mixture of their probabilities, their ranks, or their votes.

The two-tower is trained as a softmax, so its scores are logarithms of how probably an item is
acted on next, up to a constant. What the others say is taken as shares of what is acted on. So
they are mixed as the probabilities they are: p = Σ w_s p_s, the weights summing to 1 (a linear
opinion pool, Stone 1961). A weight is read as the share of the next events that the source
explains, whatever the scale of any model's scores. A source that says nothing of a request leaves
its share to the two-tower.

Each way of fusing is linear in the weights: it adds up the columns of an array, one per source.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from serving.candidates import NOTHING, Candidates, Scores
from serving.item_rows import Rows, places_among
from serving.source_names import REMAINDER

Floats = npt.NDArray[np.float64]
Proposals = Mapping[str, Candidates]
"""What each source proposes, best first; only the two-tower's scores may be negative."""


def shares(pool: Rows, proposals: Proposals, sources: Sequence[str]) -> Floats:
    """Return float64 [len(pool), len(sources)], how probable each source holds each candidate.

    pool: distinct rows, ascending. A column sums to 1, or to 0 where the source proposes nothing of
    the pool. The two-tower's column is 0 as well, since its scores are no shares.
    """
    columns = np.zeros((len(pool), len(sources)))
    for column, name in enumerate(sources):
        found = proposals.get(name)
        if found is not None and name != REMAINDER:
            columns[:, column] = _at(pool, found.rows, found.scores.astype(np.float64))
    totals = columns.sum(axis=0)
    return columns / np.where(totals > 0, totals, 1.0)


def mixed_scores(columns: Floats, weights: Floats, two_tower: Scores, temperature: float) -> Scores:
    """Return float32 [n], logarithms of the mixture's probabilities on the two-tower's scale.

    columns: `shares` [n, num_sources]. weights: float64 [num_sources], of sum 1. two_tower: its
    scores, which are divided by the `temperature`. Where no other source says anything, or has any
    weight, these quotients are the result.
    """
    if not len(two_tower):
        return two_tower
    scaled = two_tower.astype(np.float64) / temperature
    total = log_total(scaled)
    left = weights[~columns.any(axis=0)].sum()
    mixed = columns @ weights + left * np.exp(scaled - total)
    scores: Scores = (logarithms(mixed) + total).astype(np.float32)
    return scores


def log_total(scores: Floats) -> float:
    """Return log Σ exp(score); scores less this are the logarithms of their softmax."""
    top = float(scores.max(initial=-np.inf))
    return top + float(np.log(np.exp(scores - top).sum())) if len(scores) else top


RANK_CONSTANT = 60.0
"""The constant of reciprocal rank fusion, as its authors chose it."""


def reciprocal_ranks(pool: Rows, proposals: Proposals, sources: Sequence[str]) -> Floats:
    """Return float64 [len(pool), len(sources)], 1 / (60 + rank) where a source proposes the row.

    pool: distinct rows, ascending. Cormack, Clarke and Buettcher, SIGIR 2009.
    """
    columns = np.zeros((len(pool), len(sources)))
    for column, name in enumerate(sources):
        rows = proposals.get(name, NOTHING).rows
        columns[:, column] = _at(pool, rows, 1 / (RANK_CONSTANT + np.arange(1, len(rows) + 1)))
    return columns


def votes(pool: Rows, proposals: Proposals, sources: Sequence[str]) -> Floats:
    """Return float64 [len(pool), len(sources)], 1 where a source proposes the row.

    Rows with equal votes are ordered by reciprocal rank, which adds less than a vote does.
    """
    ranks = reciprocal_ranks(pool, proposals, sources)
    return (ranks > 0) + ranks * 1e-3


def logarithms(sums: Floats) -> Floats:
    """Return logarithms of sums that are not negative; re-ranking takes scores to be such."""
    return np.log(np.maximum(sums, np.finfo(np.float64).tiny))


def _at(pool: Rows, rows: Rows, values: Floats) -> Floats:
    """Return float64 [len(pool)], the value of each row of `pool`, 0 where it has none."""
    placed = np.zeros(len(pool))
    places = places_among(pool, rows)
    found = places >= 0
    placed[places[found]] = values[found]
    return placed
