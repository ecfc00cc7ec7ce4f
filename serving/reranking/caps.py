"""At most so many of one group among neighbouring places."""

from collections import deque
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows

NO_GROUP = 0
"""The group of candidates without one; it has no cap."""


OVER_CAP = 1e6
"""More than any gain can make up for, and little enough to leave the gains their digits."""


class Cap:
    """Knows which rows would be one too many. Made for one list.

    groups: int32 [num_rows]. candidates: int64 [n], those of the rows that the list is ordered
    from. penalties: float64 [n], `OVER_CAP` where the candidate's group has `most` of the last
    `window` - 1 places, else 0. A window that slides, rather than one list, lets a later page
    hold as many as the first.
    """

    def __init__(
        self, groups: npt.NDArray[np.int32], candidates: Rows, most: int, window: int
    ) -> None:
        self.penalties = np.zeros(len(candidates))
        self._groups = groups
        self._of_candidates = groups[candidates]
        self._most = most
        self._window = window
        self._recent: deque[int] = deque()
        self._counts: dict[int, int] = {}
        self._full: set[int] = set()

    @property
    def binds(self) -> bool:
        """Whether any penalty is not 0."""
        return bool(self._full)

    def group_of(self, row: int) -> int:
        """Return the row's group, `NO_GROUP` for none."""
        return int(self._groups[row])

    def is_full(self, group: int) -> bool:
        """Whether a row of the group would be one too many in the next place."""
        return group in self._full

    def choose(self, row: int) -> None:
        """Give the next place to a row, whether it is a candidate or not."""
        group = int(self._groups[row])
        self._recent.append(group)
        self._count(group, 1)
        if len(self._recent) == self._window:
            self._count(self._recent.popleft(), -1)

    def _count(self, group: int, change: int) -> None:
        if group == NO_GROUP:
            return
        self._counts[group] = count = self._counts.get(group, 0) + change
        if count >= self._most and group not in self._full:
            self._full.add(group)
            self.penalties[self._of_candidates == group] = OVER_CAP
        elif count < self._most and group in self._full:
            self._full.remove(group)
            self.penalties[self._of_candidates == group] = 0.0


class Caps:
    """All caps of one list, and the candidates int64 [n] that it is ordered from, distinct."""

    def __init__(self, caps: Sequence[Cap], candidates: Rows) -> None:
        self._caps = caps
        self._places = dict(zip(candidates.tolist(), range(len(candidates)), strict=True))
        self._left = np.ones(len(candidates), np.bool_)

    def groups_of(self, row: int) -> tuple[int, ...]:
        """Return the row's group for every cap: rows of the same groups break the same caps."""
        return tuple(cap.group_of(row) for cap in self._caps)

    def broken_by(self, groups: tuple[int, ...]) -> int:
        """Return how many caps a row of such groups would break in the next place."""
        return sum(cap.is_full(group) for cap, group in zip(self._caps, groups, strict=True))

    def reserve(self, rows: Iterable[int]) -> None:
        """Count the rows, which will have or have a place, no longer as candidates."""
        for row in rows:
            if (place := self._places.get(row)) is not None:
                self._left[place] = False

    def leave_better(self, broken: int) -> bool:
        """Return whether a candidate without a place would break fewer caps than `broken`."""
        if not broken:
            return False
        penalties = sum((cap.penalties for cap in self._caps), np.zeros(len(self._left)))
        return bool((self._left & (penalties < broken * OVER_CAP)).any())

    def choose(self, row: int) -> None:
        """Give the next place to a row."""
        self.reserve((row,))
        for cap in self._caps:
            cap.choose(row)
