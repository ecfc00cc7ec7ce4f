"""State of items that is additive: each partition keeps its own part, readers see the sum.

To add a kind: a field of its name in `Updates` and `Slice`, and an entry in `ADDITIVE`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from feature_repo.online_features import ItemStatistics
from streaming.statistics import merge

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
        """Return each item's state from its encoded parts, in the order the items come."""
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


STATISTICS = AdditiveKind("statistics", _encode_statistics, _decode_statistics, merge)
ADDITIVE: tuple[AdditiveKind[Any], ...] = (STATISTICS,)
