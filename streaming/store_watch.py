"""Notices that the online store has lost data, and lists everything for pushing again.

An online store may be emptied, or restored from an older copy, while the state is intact. Two
things in it tell:

- a random mark, which the state knows: a store that was emptied has none;
- an age, which is raised in state and store every `RAISE_SECONDS`: a restored store is behind.

It notices, too, where another shop writes to the store (`shop_identity`).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import structlog

from feature_repo.online_features import ItemEmbedding, OnlineFeatures
from streaming.milestones import Milestones
from streaming.shop_identity import require_own_store
from streaming.stream_state import STORE_AGE, OpenState, StateConflict, StateError, remember
from streaming.updates import Updates

LOOK_SECONDS = 1.0
RAISE_SECONDS = 20.0
"""How long an age stays the same. A restored copy no older than three ages is not noticed."""
MARK_KEY = " mark"
"""The item id of the mark. No item has it: ids that begin with a space are refused."""
AGE_KEYS = (" age 0", " age 1")
"""The item ids of the last even age and of the last odd one."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a store holds: its mark, "" where it has none, and the last even and odd age."""

    mark: str
    ages: tuple[int, int]


class StoreWatch:
    """Compares the mark and the age in an online store with those in the state.

    pause_seconds: how long it rests after an error. clock: seconds, with any start.
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
        # What the store held when it was last found intact, and since when it has held that.
        self._known = _Told("", (0, 0))
        self._shop: str | None = None
        self._since = 0.0
        self._logger = structlog.get_logger(__name__)

    def step(self) -> bool:
        """Call `look` at most once a second and return its result, else False.

        A store that cannot be read is logged, and looked at again after a pause: only pushes wait
        for it. Raises `StateError`.
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
        """List everything again where the state does not know the store's mark, or its age is old.

        Returns whether the list of `AGAIN` may have grown, by this call or another worker's.

        1. Write a new random mark to the store, then the state's age.
        2. Put everything on the list of `AGAIN`.
        3. Commit the mark to the state.

        What was pushed before 1 is on a list after 2. What is pushed after 1 can only be lost
        together with the mark or the age. So a store whose mark the state knows, and whose age is
        recent, lacks nothing but what is on a list. If interrupted anywhere, the next look starts
        over. Raises what store and state raise, and `ForeignShop` where the store is another's.
        """
        self.require_own()
        told = self._ask()
        is_due = self._clock() - self._since >= RAISE_SECONDS
        if told.mark and told == self._known and not is_due:
            return False
        age = self._state.load(STORE_AGE, (), ()).version
        is_known = told.mark and told.mark == self._known.mark
        marks = self._state.milestones().store_marks
        if is_known or told.mark in marks:
            # The older of the store's two ages counts; it may be two behind while the newest is
            # not pushed yet. If there were only one, raising it in a store that was restored a
            # moment ago would make that store look recent.
            if min(told.ages) >= age - 2:
                if told == self._known:
                    self._raise(age, max(told.ages))
                self._known, self._since = told, self._clock()
                return not is_known
            message = "online_store_was_put_back"
        else:
            # A state without marks has marked no store yet, as after an upgrade: nothing is lost.
            message = "online_store_was_emptied" if marks else ""
        # 1.
        mark = uuid4().hex
        self._push({MARK_KEY: mark})
        self._push(dict.fromkeys(AGE_KEYS, str(age)))
        # 2.
        listed = self._state.list_all_again()
        # 3.
        remember(self._state, Milestones(store_marks=frozenset([mark])))
        self._known, self._since = _Told(mark, (age, age)), self._clock()
        if listed and message:
            self._logger.warning(message, told_again=listed)
        elif listed:
            self._logger.info("online_store_is_told_everything", told=listed)
        return True

    def require_own(self) -> None:
        """Raise `ForeignShop` where the store is not of the state's shop."""
        if self._shop is None:
            self._shop = self._state.milestones().shop
        require_own_store(self._online, self._shop)

    def _ask(self) -> _Told:
        stored = self._online.get(ItemEmbedding, [MARK_KEY, *AGE_KEYS])
        mark, *ages = ("" if each is None else each.bundle_version for each in stored)
        even, odd = (int(age or 0) for age in ages)
        return _Told(mark, (even, odd))

    def _raise(self, age: int, told: int) -> None:
        """Raise the age in state and store; where the store is behind, only write it there.

        age: the state's. told: the newest in the store.
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
