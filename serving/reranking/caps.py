"""At most so many of one group among neighbouring places."""

from collections import deque

import numpy as np
import numpy.typing as npt

NO_GROUP = 0
"""The group of candidates without one; it has no cap."""


OVER_CAP = 1e6
"""More than any gain can make up for, and little enough to leave the gains their digits."""


class Cap:
    """Knows which candidates would be one too many. Made for one list.

    penalties: float64 [n], `OVER_CAP` where the candidate's group has `most` of the last
    `window` - 1 places, else 0. A window that slides, rather than one list, lets a later page
    hold as many as the first.
    """

    def __init__(self, groups: npt.NDArray[np.int32], most: int, window: int) -> None:
        self.penalties = np.zeros(len(groups))
        self._groups = groups
        self._most = most
        self._window = window
        self._recent: deque[int] = deque()
        self._counts: dict[int, int] = {}
        self._full: set[int] = set()

    @property
    def binds(self) -> bool:
        """Whether any penalty is not 0."""
        return bool(self._full)

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        group = int(self._groups[candidate])
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
            self.penalties[self._groups == group] = OVER_CAP
        elif count < self._most and group in self._full:
            self._full.remove(group)
            self.penalties[self._groups == group] = 0.0
