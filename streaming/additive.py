"""State of items that is additive: each partition keeps its own part, readers see the sum.

To add a kind, add a field of its name to `Updates` and `Slice`, and an entry to `ADDITIVE`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import orjson

from feature_repo import co_visitation, item_statistics
from feature_repo.online_features import CoVisitation, ItemStatistics
from streaming import fold_in
from streaming.fold_in import FoldIn

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class AdditiveKind(Generic[S]):
    """A kind of state per item.

    name: its field in `Updates` and `Slice`, of type dict[item_id, S].
    merge: adds the states of one item; associative and commutative.
    """

    name: str
    encode: Callable[[S], bytes]
    decode: Callable[[str, bytes], S]
    merge: Callable[[S, S], S]

    def of(self, holder: object) -> dict[str, S]:
        """Return the states of this kind in an `Updates` or a `Slice`."""
        states: dict[str, S] = getattr(holder, self.name)
        return states

    def merged(self, parts: Iterable[tuple[str, bytes]]) -> dict[str, S]:
        """Return each item's state, merged from its encoded parts: pairs of item id and part."""
        states: dict[str, S] = {}
        for item_id, part in parts:
            state = self.decode(item_id, part)
            known = states.get(item_id)
            states[item_id] = state if known is None else self.merge(known, state)
        return states


def _encode_statistics(each: ItemStatistics) -> bytes:
    return orjson.dumps([each.timestamp, each.event_types, each.hour, each.day, each.week])


def _decode_statistics(item_id: str, stored: bytes) -> ItemStatistics:
    timestamp, *columns = orjson.loads(stored)
    return ItemStatistics(item_id, timestamp, *map(tuple, columns))


def _encode_co_visitation(each: CoVisitation) -> bytes:
    return orjson.dumps([each.timestamp, each.neighbour_ids, each.weights])


def _decode_co_visitation(item_id: str, stored: bytes) -> CoVisitation:
    timestamp, *columns = orjson.loads(stored)
    return CoVisitation(item_id, timestamp, *map(tuple, columns))


def _encode_fold_in(each: FoldIn) -> bytes:
    return orjson.dumps([each.bundle_version, each.timestamp, each.weight, each.vector.tolist()])


def _decode_fold_in(item_id: str, stored: bytes) -> FoldIn:
    bundle_version, timestamp, weight, vector = orjson.loads(stored)
    return FoldIn(item_id, bundle_version, timestamp, weight, np.array(vector, np.float64))


STATISTICS = AdditiveKind(
    "statistics", _encode_statistics, _decode_statistics, item_statistics.merge
)
CO_VISITATION = AdditiveKind(
    "co_visitation", _encode_co_visitation, _decode_co_visitation, co_visitation.merge
)
FOLD_IN = AdditiveKind("fold_in", _encode_fold_in, _decode_fold_in, fold_in.merge)
ADDITIVE: tuple[AdditiveKind[Any], ...] = (STATISTICS, CO_VISITATION, FOLD_IN)
