"""The columns the candidate tower reads of an item, made alike in training and serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item

UNKNOWN_AGE_DAYS = -1.0

MAX_TAGS = 16
"""How many tags of an item are read at most, the first ones."""


@dataclass(frozen=True, slots=True, eq=False)
class CandidateFeatures:
    """Columns of n items.

    item_id, text, category, brand: object arrays of str [n], "" where unknown.
    tags: object array of str [n, most], "" behind an item's own, of which there are `MAX_TAGS` at
    most. price: float32 [n], NaN where unknown. age_days: float32 [n], -1 where unknown.
    """

    item_id: npt.NDArray[np.object_]
    text: npt.NDArray[np.object_]
    category: npt.NDArray[np.object_]
    brand: npt.NDArray[np.object_]
    tags: npt.NDArray[np.object_]
    price: npt.NDArray[np.float32]
    age_days: npt.NDArray[np.float32]


def candidate_features(items: Sequence[Item], at: datetime) -> CandidateFeatures:
    """Return the candidate tower's columns of `items` as they are at the moment `at`."""
    return CandidateFeatures(
        item_id=np.array([item.item_id for item in items], dtype=object),
        text=np.array([item.text for item in items], dtype=object),
        category=np.array([" > ".join(item.categories[:2]) for item in items], dtype=object),
        brand=np.array([item.brand for item in items], dtype=object),
        tags=_padded([item.tags[:MAX_TAGS] for item in items]),
        price=np.array(
            [np.nan if item.price is None else item.price for item in items], dtype=np.float32
        ),
        age_days=np.array([_age_days(item, at) for item in items], dtype=np.float32),
    )


def _age_days(item: Item, at: datetime) -> float:
    if item.published_at is None:
        return UNKNOWN_AGE_DAYS
    return max((at - item.published_at).total_seconds() / 86_400, 0.0)


def _padded(names: Sequence[Sequence[str]]) -> npt.NDArray[np.object_]:
    """Return object [n, most], "" behind the names of each; `most` is at least 1."""
    padded = np.full((len(names), max(map(len, names), default=0) or 1), "", dtype=object)
    for row, own in zip(padded, names, strict=True):
        row[: len(own)] = own
    return padded
