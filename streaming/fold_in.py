"""Fold-in: moves an item's embedding toward the users who act on it, between two trainings.

A new item starts from its text, category, brand, tags and price. Every event on it adds the
direction of its user's query embedding, as it was before the event, to a decayed sum; the embedding
then moves from where it started toward their mean (`moved`). It is the ridge estimate of a vector
around its prior: a few events move an item that training did not see, and hardly one it knew well.

The sums fade by forward decay, like `feature_repo.co_visitation`, and add up over partitions. They
lie in the vector space of one bundle, and begin again with another; those of two do not add up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_repo.times import DAY
from serving.candidate_space import CandidateSpace
from streaming.settings import FoldInSettings

DECAY = 30 * DAY
"""An event's weight falls by a factor of e over this time. It is no setting: sums of two decays do
not add up."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FoldIn:
    """Decayed sums over the events on an item, as of `timestamp`, microseconds since 1970 UTC.

    weight: the sum of the events' weights. vector: float64 [n], the weighted sum of the unit
    vectors of their users' tastes, in the space of bundle `bundle_version`. others: what `merge`
    found in other spaces, one of each; a partition's own part has none.
    """

    item_id: str
    bundle_version: str
    timestamp: int
    weight: float
    vector: Vector
    others: tuple["FoldIn", ...] = ()

    @property
    def spaces(self) -> tuple["FoldIn", ...]:
        """The sums of each space, by themselves."""
        return (replace(self, others=()), *self.others)


def nothing(item_id: str, bundle_version: str, size: int) -> FoldIn:
    """Return the sums of an item that nobody has acted on since the bundle was made."""
    return FoldIn(item_id, bundle_version, 0, 0.0, np.zeros(size))


def add(
    fold_in: FoldIn,
    taste: npt.NDArray[np.float32],
    weight: float,
    timestamp: int,
) -> FoldIn:
    """Return `fold_in` with an event of `weight` by a user of unit `taste`, float32 [n]."""
    fold_in = _at(fold_in, timestamp // DECAY * DECAY)
    weight *= math.exp((timestamp - fold_in.timestamp) / DECAY)
    return FoldIn(
        fold_in.item_id,
        fold_in.bundle_version,
        fold_in.timestamp,
        fold_in.weight + weight,
        fold_in.vector + weight * taste.astype(np.float64),
    )


def merge(left: FoldIn, right: FoldIn) -> FoldIn:
    """Return the sums of both, as of the later one's `timestamp` in each vector space.

    Sums of two spaces stay apart. After a rollback there may be some: partitions where nothing has
    happened since keep sums of the newer bundle. Raises `ValueError` for two items.
    """
    if left.item_id != right.item_id:
        raise ValueError(f"`right` must be of item {left.item_id!r}. Received: {right.item_id!r}.")
    sums: dict[str, FoldIn] = {}
    for each in (*left.spaces, *right.spaces):
        known = sums.get(each.bundle_version)
        sums[each.bundle_version] = each if known is None else _summed(known, each)
    newest, *others = (sums[version] for version in sorted(sums, reverse=True))
    return replace(newest, others=tuple(others))


def _summed(left: FoldIn, right: FoldIn) -> FoldIn:
    left, right = _at(left, right.timestamp), _at(right, left.timestamp)
    return FoldIn(
        left.item_id,
        left.bundle_version,
        left.timestamp,
        left.weight + right.weight,
        left.vector + right.vector,
    )


def moved(
    embeddings: npt.NDArray[np.float32],
    item_ids: Sequence[str],
    sums: Mapping[str, FoldIn],
    space: CandidateSpace,
    settings: FoldInSettings,
) -> npt.NDArray[np.float32]:
    """Return embeddings float32 [len(item_ids), dimension] of `space`, moved by `sums`.

    The embedding an item starts from counts as much as `prior` events, and `trained_prior` for each
    event that training saw. Each event since pulls it toward its user's taste, scaled to the median
    norm of candidates. The coordinate of popularity does not move: trends say what is popular now.
    """
    result = embeddings.copy()
    for row, item_id in enumerate(item_ids):
        spaces = sums[item_id].spaces if item_id in sums else ()
        own = next((each for each in spaces if each.bundle_version == space.bundle_version), None)
        if own is None:
            continue
        prior = settings.prior + settings.trained_prior * space.counts.get(item_id, 0)
        start = prior * embeddings[row, : space.num_tastes]
        end = space.taste_length * own.vector
        result[row, : space.num_tastes] = (start + end) / (prior + own.weight)
    return result


def _at(fold_in: FoldIn, timestamp: int) -> FoldIn:
    """Return the sums as of a later `timestamp`; an earlier one changes nothing."""
    age = timestamp - fold_in.timestamp
    if age <= 0:
        return fold_in
    faded = math.exp(-age / DECAY)
    return FoldIn(
        fold_in.item_id,
        fold_in.bundle_version,
        timestamp,
        fold_in.weight * faded,
        fold_in.vector * faded,
    )
