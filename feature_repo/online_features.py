"""The online store's contract: the newest features of a user or an item, by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from feature_repo.history import UserHistory
from feature_repo.schema import Item, User


@dataclass(frozen=True, slots=True, eq=False)
class UserEmbedding:
    """The query embedding of a user's history, in the vector space of one bundle.

    vector: float32 [dimension]; history_timestamp: microseconds of the newest event in it.
    left_out: the items of the history that had no candidate embedding. Where one of them has one by
    now, the vector is out of date.
    """

    user_id: str
    vector: npt.NDArray[np.float32]
    bundle_version: str
    history_timestamp: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ItemEmbedding:
    """The candidate embedding of an item, float32 [dimension], in the space of one bundle."""

    item_id: str
    vector: npt.NDArray[np.float32]
    bundle_version: str


@dataclass(frozen=True, slots=True)
class ItemStatistics:
    """How often an item is acted on: exponentially decayed counts as of `timestamp`.

    `event_types[i]` was counted `hour[i]`, `day[i]` and `week[i]` times, each event
    weighing exp(-age / window). `timestamp` is in microseconds since 1970 UTC.
    """

    item_id: str
    timestamp: int
    event_types: tuple[str, ...]
    hour: tuple[float, ...]
    day: tuple[float, ...]
    week: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CoVisitation:
    """Which items are acted on beside an item, heaviest first.

    `neighbour_ids[i]` weighs `weights[i]` as of `timestamp`, microseconds since 1970 UTC. All
    decay at one rate, so that their ratios stay the same until an event changes them.
    """

    item_id: str
    timestamp: int
    neighbour_ids: tuple[str, ...]
    weights: tuple[float, ...]


FeatureRecord = (
    UserHistory | UserEmbedding | User | Item | ItemEmbedding | ItemStatistics | CoVisitation
)
RecordT = TypeVar(
    "RecordT",
    UserHistory,
    UserEmbedding,
    User,
    Item,
    ItemEmbedding,
    ItemStatistics,
    CoVisitation,
)


def key_of(record: FeatureRecord) -> str:
    """Return the id of the user or the item that the record is of."""
    if isinstance(record, Item | ItemEmbedding | ItemStatistics | CoVisitation):
        return record.item_id
    return record.user_id


class FeatureReader(Protocol):
    """Reads whole feature records: all that a request does. Safe for use by many threads."""

    def get(self, view: type[RecordT], keys: Sequence[str]) -> list[RecordT | None]:
        """Return the record of each key, in order, or None where nothing is stored."""
        ...


class OnlineFeatures(FeatureReader, Protocol):
    """Reads and writes whole feature records. Safe for use by many threads."""

    def push(self, records: Sequence[FeatureRecord]) -> None:
        """Store each record, replacing the key's older one. Records may be of mixed views."""
        ...

    def delete(self, view: type[FeatureRecord], keys: Sequence[str]) -> None:
        """Forget the records of the keys; an unknown key is no error."""
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
