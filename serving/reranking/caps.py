"""At most so many of one group among neighbouring places."""

from collections import Counter, deque

import numpy as np
import numpy.typing as npt

NO_GROUP = 0
"""The group of candidates without one; it has no cap."""


class Cap:
    """Knows which candidates would be one too many. Made for one list.

    full: bool [n], whether the candidate's group has `most` of the last `window` - 1 places.
    A window that slides, rather than one list, lets a later page hold as many as the first.
    """

    def __init__(self, groups: npt.NDArray[np.int32], most: int, window: int) -> None:
        self.full = np.zeros(len(groups), dtype=np.bool_)
        self._groups = groups
        self._most = most
        self._window = window
        self._recent: deque[int] = deque()
        self._counts: Counter[int] = Counter()

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        group = int(self._groups[candidate])
        self._recent.append(group)
        self._count(group, 1)
        if len(self._recent) == self._window:
            self._count(self._recent.popleft(), -1)

    def _count(self, group: int, change: int) -> None:
        before = self._counts[group] >= self._most
        self._counts[group] += change
        after = self._counts[group] >= self._most
        if before != after and group != NO_GROUP:
            self.full[self._groups == group] = after
