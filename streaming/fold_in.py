"""Where the people who act on an item stand: what moves its embedding between two trainings.

A new item starts from its text and attributes. Every event on it adds the direction of its
user's query embedding, as it was before the event, to a decayed sum; the embedding then moves
from where it started toward their mean (`moved`). It is the ridge estimate of a vector around
its prior: a few events move an item that training did not see, and hardly one it knew well.

The sums fade by forward decay, like `streaming.co_visitation`, and add up over partitions. They
lie in the vector space of one bundle, and begin again with another.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streaming.settings import FoldInSettings

DAY = 86_400_000_000

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FoldIn:
    """Decayed sums over the events on an item, as of `timestamp`, microseconds since 1970 UTC.

    weight: the sum of the events' weights. vector: float64 [n], the weighted sum of the unit
    vectors of their users' tastes, in the space of bundle `bundle_version`.
    """

    item_id: str
    bundle_version: str
    timestamp: int
    weight: float
    vector: Vector


def nothing(item_id: str, bundle_version: str, size: int) -> FoldIn:
    """Return the sums of an item that nobody has acted on since the bundle was made."""
    return FoldIn(item_id, bundle_version, 0, 0.0, np.zeros(size))


def add(
    fold_in: FoldIn,
    taste: npt.NDArray[np.float32],
    weight: float,
    timestamp: int,
    settings: FoldInSettings,
) -> FoldIn:
    """Return `fold_in` with an event of `weight` by a user of unit `taste`, float32 [n]."""
    period = round(settings.decay_days * DAY)
    fold_in = _at(fold_in, timestamp // period * period, period)
    weight *= math.exp((timestamp - fold_in.timestamp) / period)
    return FoldIn(
        fold_in.item_id,
        fold_in.bundle_version,
        fold_in.timestamp,
        fold_in.weight + weight,
        fold_in.vector + weight * taste.astype(np.float64),
    )


def merge(left: FoldIn, right: FoldIn, settings: FoldInSettings) -> FoldIn:
    """Return the sums of both, as of the later one's `timestamp`.

    Raises `ValueError` where they are of two items or two vector spaces.
    """
    ours, theirs = (left.item_id, left.bundle_version), (right.item_id, right.bundle_version)
    if ours != theirs:
        raise ValueError(f"`right` must be of item and bundle {ours}. Received: {theirs}.")
    period = round(settings.decay_days * DAY)
    left, right = _at(left, right.timestamp, period), _at(right, left.timestamp, period)
    return FoldIn(
        left.item_id,
        left.bundle_version,
        left.timestamp,
        left.weight + right.weight,
        left.vector + right.vector,
    )


def moved(
    tastes: npt.NDArray[np.float32],
    prior: float,
    fold_in: FoldIn,
    length: float,
) -> npt.NDArray[np.float32]:
    """Return where an item stands that started at `tastes`, float32 [n].

    prior: how many events the start counts for. length: of the place its users stand at,
    that of a candidate which training knows well.
    """
    toward = length * fold_in.vector
    return ((prior * tastes + toward) / (prior + fold_in.weight)).astype(np.float32)


def _at(fold_in: FoldIn, timestamp: int, period: int) -> FoldIn:
    """Return the sums as of a later `timestamp`; an earlier one changes nothing."""
    age = timestamp - fold_in.timestamp
    if age <= 0:
        return fold_in
    faded = math.exp(-age / period)
    return FoldIn(
        fold_in.item_id,
        fold_in.bundle_version,
        timestamp,
        fold_in.weight * faded,
        fold_in.vector * faded,
    )
