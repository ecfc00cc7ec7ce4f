"""Notices that the online store has lost what it was told, and puts all of it on the lists again.

An online store may be emptied beside a state that is whole: another server, another file. It holds
a mark, of which the state knows, and whose loss says so.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import numpy as np
import structlog

from feature_repo.online_features import ItemEmbedding, OnlineFeatures
from streaming.milestones import NONE
from streaming.stream_state import IMPORTED, OpenState, StateConflict, StateError
from streaming.updates import Updates

LOOK_SECONDS = 1.0
MARK_KEY = " mark"
"""No item has such an id: those that are padded are refused."""


class StoreWatch:
    """Looks at the mark of an online store, and gives it one where it has none.

    pause_seconds: how long it rests after an error. clock: seconds, from any moment on.
    """

    def __init__(
        self,
        state: OpenState,
        online: OnlineFeatures,
        pause_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._online = online
        self._pause = pause_seconds
        self._clock = clock
        self._due = 0.0
        # The one that the store had last, if the state knows it.
        self._mark = ""
        self._logger = structlog.get_logger(__name__)

    def step(self) -> bool:
        """Look once a second; return what `look` does. Raises `StateError`.

        A store that is down keeps whoever pushes waiting, and no one else.
        """
        if self._clock() < self._due:
            return False
        try:
            may_have_grown = self.look()
        except StateError:
            raise
        except Exception as error:  # noqa: BLE001 — stores raise what they like
            self._logger.warning("store_not_looked_at", error=str(error), retry_in=self._pause)
            self._due = self._clock() + self._pause
            return False
        self._due = self._clock() + LOOK_SECONDS
        return may_have_grown

    def look(self) -> bool:
        """List everything again where the store has no mark that the state knows.

        Returns whether the list of `AGAIN` may have grown, by this call or another worker's.

        1. Give the store a mark that none has had.
        2. Put everything on the list of `AGAIN`.
        3. Let the state know the mark.

        What was pushed before 1 is on a list after 2. What is pushed after 1 is lost with the mark
        alone. So a store that has a mark which the state knows lacks nothing but what is on a list.
        Interrupted anywhere, the next look begins again. Raises what store and state raise.
        """
        [stored] = self._online.get(ItemEmbedding, [MARK_KEY])
        found = "" if stored is None else stored.bundle_version
        if found and found == self._mark:
            return False
        if found in self._state.milestones().store_marks:
            self._mark = found
            return True
        # 1.
        mark = uuid4().hex
        self._online.push([ItemEmbedding(MARK_KEY, np.zeros(0, np.float32), mark)])
        # 2.
        listed = self._state.list_all_again()
        # 3.
        self._remember(mark)
        self._mark = mark
        if listed:
            self._logger.warning("online_store_was_emptied", told_again=listed)
        return True

    def _remember(self, mark: str) -> None:
        marked = replace(NONE, store_marks=frozenset([mark]))
        while True:
            version = self._state.load(IMPORTED, (), ()).version
            try:
                self._state.commit(IMPORTED, version, Updates(), {}, milestones=marked)
            except StateConflict:
                continue  # Others look too, or take up imports.
            return
