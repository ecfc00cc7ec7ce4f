"""Notices that the online store has lost what it was told, and puts all of it on the lists again.

An online store may be emptied, or put back from an older copy, beside a state that is whole. It
holds a mark, of which the state knows, and whose loss says the first; and its age, which is raised
in both now and then, and says the second.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np
import structlog

from feature_repo.online_features import ItemEmbedding, OnlineFeatures
from streaming.milestones import NONE
from streaming.stream_state import IMPORTED, STORE_AGE, OpenState, StateConflict, StateError
from streaming.updates import Updates

LOOK_SECONDS = 1.0
RAISE_SECONDS = 20.0
"""How long an age stays. A copy that is not older than three of them passes for the store."""
MARK_KEY = " mark"
"""No item has such an id: those that are padded are refused."""
AGE_KEYS = (" age 0", " age 1")
"""Of the even ages and of the odd ones."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a store says of itself: its mark, and the last even and the last odd age."""

    mark: str
    ages: tuple[int, int]


class StoreWatch:
    """Looks at the mark and the age of an online store, and gives it a mark where it has none.

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
        # What the store said last, if the state knows the mark, and since when.
        self._known = _Told("", (0, 0))
        self._since = 0.0
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
        """List everything again where the store has no mark that the state knows, or is too old.

        Returns whether the list of `AGAIN` may have grown, by this call or another worker's.

        1. Give the store a mark that none has had, then the age that it has in the state.
        2. Put everything on the list of `AGAIN`.
        3. Let the state know the mark.

        What was pushed before 1 is on a list after 2. What is pushed after 1 is lost with the mark,
        or with the age. So a store that has a mark which the state knows, and is not too old, lacks
        nothing but what is on a list. Interrupted anywhere, the next look begins again. Raises what
        store and state raise.
        """
        told = self._ask()
        is_due = self._clock() - self._since >= RAISE_SECONDS
        if told.mark and told == self._known and not is_due:
            return False
        age = self._state.load(STORE_AGE, (), ()).version
        is_known = told.mark and told.mark == self._known.mark
        if is_known or told.mark in self._state.milestones().store_marks:
            # The store may not have the newest, and has one before that too. With one alone, who
            # raises it in a store that was put back a moment ago would make that one young.
            if min(told.ages) >= age - 2:
                if told == self._known:
                    self._raise(age, max(told.ages))
                self._known, self._since = told, self._clock()
                return not is_known
            message = "online_store_was_put_back"
        else:
            message = "online_store_was_emptied"
        # 1.
        mark = uuid4().hex
        self._push({MARK_KEY: mark})
        self._push(dict.fromkeys(AGE_KEYS, str(age)))
        # 2.
        listed = self._state.list_all_again()
        # 3.
        self._remember(mark)
        self._known, self._since = _Told(mark, (age, age)), self._clock()
        if listed:
            self._logger.warning(message, told_again=listed)
        return True

    def _ask(self) -> _Told:
        stored = self._online.get(ItemEmbedding, [MARK_KEY, *AGE_KEYS])
        mark, *ages = ("" if each is None else each.bundle_version for each in stored)
        even, odd = (int(age or 0) for age in ages)
        return _Told(mark, (even, odd))

    def _raise(self, age: int, told: int) -> None:
        """Raise the age in the state, unless the store was not told of the last time; then there.

        age, told: in the state and in the store.
        """
        if told >= age:
            try:
                self._state.commit(STORE_AGE, age, Updates(), {})
            except StateConflict:
                return  # Another worker does it.
            age += 1
        self._push({AGE_KEYS[age % 2]: str(age)})

    def _push(self, told: Mapping[str, str]) -> None:
        nowhere = np.zeros(0, np.float32)
        self._online.push([ItemEmbedding(key, nowhere, value) for key, value in told.items()])

    def _remember(self, mark: str) -> None:
        marked = replace(NONE, store_marks=frozenset([mark]))
        while True:
            version = self._state.load(IMPORTED, (), ()).version
            try:
                self._state.commit(IMPORTED, version, Updates(), {}, milestones=marked)
            except StateConflict:
                continue  # Others look too, or take up imports.
            return
