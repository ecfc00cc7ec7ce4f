"""At most so many of one group among neighbouring places."""

from collections import deque
from collections.abc import Collection, Sequence

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

    def is_broken_by(self, row: int) -> bool:
        """Whether the row would be one too many in the next place."""
        return int(self._groups[row]) in self._full

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
    """All caps of one list, and the candidates int64 [n] that it is ordered from."""

    def __init__(self, caps: Sequence[Cap], candidates: Rows) -> None:
        self._caps = caps
        self._candidates = candidates

    def broken_by(self, row: int) -> int:
        """Return how many caps the row would break in the next place."""
        return sum(cap.is_broken_by(row) for cap in self._caps)

    def leave_better(self, broken: int, taken: Collection[int]) -> bool:
        """Return whether a candidate that is not taken would break fewer caps than `broken`."""
        return broken > 0 and any(
            row not in taken and self.broken_by(row) < broken for row in self._candidates.tolist()
        )

    def choose(self, row: int) -> None:
        """Give the next place to a row."""
        for cap in self._caps:
            cap.choose(row)


NO_CAPS = Caps((), np.empty(0, np.int64))
