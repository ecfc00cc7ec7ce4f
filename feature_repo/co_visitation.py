"""Which items are acted on together: for an item, its neighbours with decayed weights.

Two events of one user within a window, a before b, count fully for a → b and partly for b → a;
events of one moment (a basket) count fully for both. A pair weighs less the longer the gap between
its events, and fades with time by forward decay, like `feature_repo.item_statistics`.

The sum runs over the pairs of the *set* of a user's events: an event is paired when it is
appended, with whatever the history holds then, earlier or later, so each pair is counted once
and in its own direction, in whatever order and batches the events arrive. That holds as long as
the bounded history, and the bounded number of neighbours, lose nothing.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import CoVisitation
from feature_repo.times import DAY

DECAY = 60 * DAY
"""Weights fall by a factor of e over this time. No setting: sums of two decays do not add up."""


class Pair(NamedTuple):
    """One user acted on both items: `neighbour_id` counts as a neighbour of `item_id`.

    weight: as of `timestamp`, the later event's, in microseconds since 1970 UTC.
    """

    item_id: str
    neighbour_id: str
    weight: float
    timestamp: int


def pairs(
    history: UserHistory, entry: HistoryEvent, settings: CoVisitationSettings
) -> Iterator[Pair]:
    """Yield the pairs that `entry`, which `history` holds, makes with the others in it."""
    window = settings.window_days * DAY
    weights = settings.event_type_weights
    own = weights.get(entry.event_type, UNNAMED_WEIGHT)
    for other in history.events:
        gap = abs(entry.timestamp - other.timestamp)
        if gap > window or other.item_id == entry.item_id:
            continue
        worth = math.sqrt(own * weights.get(other.event_type, UNNAMED_WEIGHT))
        weight = worth * math.exp(-gap / (settings.gap_days * DAY))
        if weight <= 0:
            continue
        first, second = (other, entry) if other.timestamp <= entry.timestamp else (entry, other)
        back = weight if gap == 0 else weight * settings.backward
        yield Pair(first.item_id, second.item_id, weight, second.timestamp)
        if back > 0:
            yield Pair(second.item_id, first.item_id, back, second.timestamp)


def add(
    co_visitation: CoVisitation, made: Iterable[Pair], settings: CoVisitationSettings
) -> CoVisitation:
    """Return `co_visitation` with the pairs `made` of its item, one after another.

    The weights are as of a landmark: the newest pair's time, rounded down to a multiple of
    `DECAY`. So most pairs change one number, and a replay in other batches repeats the same
    operations. Where there are too many neighbours the lighter half goes, so that new ones find
    room.
    """
    landmark = co_visitation.timestamp
    weights = dict(zip(co_visitation.neighbour_ids, co_visitation.weights, strict=True))
    for pair in made:
        start = pair.timestamp // DECAY * DECAY
        if start > landmark:
            faded = math.exp((landmark - start) / DECAY)
            weights = {key: weight * faded for key, weight in weights.items()}
            landmark = start
        weight = pair.weight * math.exp((pair.timestamp - landmark) / DECAY)
        weights[pair.neighbour_id] = weights.get(pair.neighbour_id, 0.0) + weight
        if len(weights) > settings.neighbours:
            weights = dict(_heaviest(weights, (settings.neighbours + 1) // 2))
    return _record(co_visitation.item_id, landmark, weights)


def merge(left: CoVisitation, right: CoVisitation) -> CoVisitation:
    """Return the weights of both, as of the later landmark.

    Raises `ValueError` where they describe two items.
    """
    if left.item_id != right.item_id:
        raise ValueError(
            f"`right` must describe item {left.item_id!r}. Received: {right.item_id!r}."
        )
    landmark = max(left.timestamp, right.timestamp)
    weights: dict[str, float] = {}
    for each in (left, right):
        faded = math.exp((each.timestamp - landmark) / DECAY)
        for neighbour_id, weight in zip(each.neighbour_ids, each.weights, strict=True):
            weights[neighbour_id] = weights.get(neighbour_id, 0.0) + weight * faded
    return _record(left.item_id, landmark, weights)


def heaviest(co_visitation: CoVisitation, most: int) -> CoVisitation:
    """Return the `most` heaviest neighbours: what readers are told."""
    return CoVisitation(
        co_visitation.item_id,
        co_visitation.timestamp,
        co_visitation.neighbour_ids[:most],
        co_visitation.weights[:most],
    )


def nothing(item_id: str) -> CoVisitation:
    """Return the neighbours of an item that nobody has acted on beside another."""
    return CoVisitation(item_id, 0, (), ())


def _record(item_id: str, landmark: int, weights: dict[str, float]) -> CoVisitation:
    heaviest = _heaviest(weights, len(weights))
    return CoVisitation(
        item_id,
        landmark,
        tuple(neighbour_id for neighbour_id, _ in heaviest),
        tuple(weight for _, weight in heaviest),
    )


def _heaviest(weights: dict[str, float], most: int) -> list[tuple[str, float]]:
    """Return the heaviest neighbours, heaviest first; of equal ones the first in the alphabet."""
    return sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
