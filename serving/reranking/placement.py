"""Who gets which place, where a rule or exploration has a say beside the order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.item_rows import Mask, Rows

PINNED = "pinned"
PROMOTED = "promoted"
EXPLORED = "exploration"


@dataclass(frozen=True, slots=True, eq=False)
class Promotion:
    """A share of every beginning of the list, 0..1, for rows of which `matches` is true.

    rows: int64 [n] of them, best first. matches: bool [num_rows].
    """

    share: float
    rows: Rows
    matches: Mask


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A list of distinct rows. origins: by place, what gave the row its place if not the order."""

    rows: Rows
    origins: Mapping[int, str]


def place(
    ranked: Rows,
    count: int,
    *,
    pins: Mapping[int, int],
    explored_places: npt.NDArray[np.int64],
    explored_rows: Rows,
    promotions: Sequence[Promotion],
) -> Placed:
    """Return `count` rows, or as many as there are; a longer list has the same ones first.

    ranked: int64 [n], distinct, best first; holds `count` + len(pins) rows wherever so many
    may be shown. pins: row by place. A place goes, in this order, to the row pinned to it, to
    exploration, to the first promotion that is short of its share, to the next in rank. Pins
    beyond the end of the list come last.
    """
    taken = set(pins.values())
    explores = set(explored_places.tolist())
    next_ranked, next_explored = _untaken(ranked, taken), _untaken(explored_rows, taken)
    promoted = [(each, _untaken(each.rows, taken)) for each in promotions]
    matched = [0] * len(promoted)
    waiting = dict(sorted(pins.items()))
    rows: list[int] = []
    origins: dict[int, str] = {}
    while len(rows) < count:
        at, row, origin = len(rows), waiting.pop(len(rows), None), PINNED
        if row is None and at in explores:
            row, origin = next(next_explored, None), EXPLORED
        for number, (promotion, next_promoted) in enumerate(promoted):
            # Rounded down, but for the error of floats: .3 * 10 may be a hair below 3.
            if row is None and matched[number] < int(promotion.share * (at + 1) + 1e-9):
                row, origin = next(next_promoted, None), PROMOTED
        if row is not None:
            origins[at] = origin
        elif (row := next(next_ranked, None)) is None:
            if not waiting:
                break
            row = waiting.pop(next(iter(waiting)))
            origins[at] = PINNED
        taken.add(row)
        rows.append(row)
        for number, promotion in enumerate(promotions):
            matched[number] += bool(promotion.matches[row])
    return Placed(np.array(rows, dtype=np.int64), origins)


def _untaken(rows: Rows, taken: set[int]) -> Iterator[int]:
    return (row for row in rows.tolist() if row not in taken)
