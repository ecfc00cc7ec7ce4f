"""Who gets which place, where a rule or exploration has a say beside the order."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from serving.item_rows import Mask, Rows
from serving.reranking.caps import Caps
from serving.source_names import EXPLORED, PINNED, PROMOTED

AHEAD = 50
"""Among so many of the next rows to explore, one within the caps is looked for."""


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
    ranked: Iterable[int],
    count: int,
    *,
    pins: Mapping[int, int],
    explored_places: npt.NDArray[np.int64],
    explored_rows: Rows,
    promotions: Sequence[Promotion],
    caps: Caps | None = None,
) -> Placed:
    """Return `count` rows, or as many as there are; a longer list has the same ones first.

    ranked: distinct rows, best first; holds `count` + len(pins) wherever so many may be shown.
    pins: row by place. explored_rows: int64 [n]; holds `AHEAD` more wherever there are so many.
    A place goes, in this order, to the row pinned to it, to exploration, to the first promotion
    that is short of its share, to the next in rank. Pins beyond the end of the list come last.
    caps: of every row they are told, before `ranked` is asked for its next. To explore is the next
    row that breaks the fewest, if no candidate breaks fewer yet.
    """
    caps = caps or Caps((), np.empty(0, np.int64))
    taken = set(pins.values())
    caps.reserve(taken)
    explores = set(explored_places.tolist())
    next_ranked, to_explore = _untaken(ranked, taken), _ToExplore(explored_rows, taken, caps)
    promoted = [(each, _untaken(each.rows.tolist(), taken)) for each in promotions]
    matched = [0] * len(promoted)
    waiting = dict(sorted(pins.items()))
    rows: list[int] = []
    origins: dict[int, str] = {}
    while len(rows) < count:
        at, row, origin = len(rows), waiting.pop(len(rows), None), PINNED
        if row is None and at in explores:
            row, origin = to_explore.next(), EXPLORED
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
        caps.choose(row)
        for number, promotion in enumerate(promotions):
            matched[number] += bool(promotion.matches[row])
    return Placed(np.array(rows, dtype=np.int64), origins)


class _ToExplore:
    """Rows in the order drawn. Those that a cap holds back wait for a later place."""

    def __init__(self, rows: Rows, taken: set[int], caps: Caps) -> None:
        self._untaken = _untaken(rows.tolist(), taken)
        self._waiting: list[tuple[int, tuple[int, ...]]] = []
        self._taken = taken
        self._caps = caps

    def next(self) -> int | None:
        """Return the row for the next place, None where there is none, or a candidate is better."""
        self._waiting = [each for each in self._waiting if each[0] not in self._taken]
        found, fewest = None, None
        # Many rows have the same groups, which need one look.
        seen: set[tuple[int, ...]] = set()
        for row, groups in self._ahead():
            if groups in seen:
                continue
            seen.add(groups)
            broken = self._caps.broken_by(groups)
            if fewest is None or broken < fewest:
                found, fewest = row, broken
            if not fewest:
                return found
        if fewest is None or self._caps.leave_better(fewest):
            return None
        return found

    def _ahead(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        yield from self._waiting
        for row in islice(self._untaken, AHEAD - len(self._waiting)):
            self._waiting.append((row, self._caps.groups_of(row)))
            yield self._waiting[-1]


def _untaken(rows: Iterable[int], taken: set[int]) -> Iterator[int]:
    return (row for row in rows if row not in taken)
