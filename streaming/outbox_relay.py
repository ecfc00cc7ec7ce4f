"""The relay of a transactional outbox: what the state lists as unpushed, to those who read it."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from feature_repo.online_features import CoVisitation, ItemStatistics
from streaming.publisher import Publisher
from streaming.retrying import Retrying
from streaming.stream_state import AGAIN, OpenState, Unpushed
from streaming.updates import Updates

PAGE = 50
"""Keys of a list that are pushed at once, between two batches: they hold the events up."""


class OutboxRelay:
    """Pushes what is unpushed, and takes it off the list of its partition.

    A batch's own values are pushed at once, by `push`. Sums over partitions change with every
    event: they stay on the lists, and `step` brings them out by the page. So it does what the
    online store has lost, the list of `AGAIN`, which is as long as the state: nobody waits for it.

    every_seconds: how long the lists rest between two rounds.
    on_statistics, on_co_visitation: are told those that a page holds; None where nobody listens.
    clock: seconds, from any moment on.
    """

    def __init__(
        self,
        state: OpenState,
        publisher: Publisher,
        retrying: Retrying,
        every_seconds: float,
        on_statistics: Callable[[Sequence[ItemStatistics]], None] | None,
        on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._publisher = publisher
        self._retrying = retrying
        self._every_seconds = every_seconds
        self._on_statistics = on_statistics
        self._on_co_visitation = on_co_visitation
        self._clock = clock
        # The partitions that there are lists of, and those that this round has not reached.
        self._partitions: set[int] = set()
        self._round: list[int] = []
        self._is_again_left = False
        # Keys that came since a page.
        self._grown = 0
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a page is to be pushed now."""
        return self._is_again_left or self._is_round_due

    def tell_all(self) -> None:
        """Tell those who listen of the sums of every item, as they are in the state."""
        if self._on_statistics is not None:
            for statistics in self._state.all_statistics():
                self._on_statistics(statistics)
        if self._on_co_visitation is not None:
            for co_visitation in self._state.all_co_visitation():
                self._on_co_visitation(co_visitation)

    def add(self, partitions: Iterable[int], keys: int = 0) -> None:
        """Look at the lists of these partitions from now on; `keys` were added to them."""
        added = set(partitions)
        self._partitions |= added - {AGAIN}
        self._is_again_left |= AGAIN in added
        self._grown += keys

    def push(self, unpushed: Sequence[tuple[int, Unpushed]]) -> None:
        """Publish what is unpushed of partitions, then take it off their lists."""
        updates = Updates.together(each.updates for _, each in unpushed)
        if updates.is_visible:
            # What a store raises when it is down is its own affair.
            self._retrying("push", lambda: self._publisher.publish(updates), (Exception,))
        for partition, each in unpushed:
            if each:
                forget = partial(self._state.forget_pushed, partition, each.stamps)
                self._retrying("forget pushed", forget)

    def step(self) -> None:
        """Push a page of the lists where they are due, and one of what the store has lost."""
        if not self._is_round_due:
            self._grown = 0
        elif not self._push_page():
            self._due = self._clock() + self._every_seconds
        if self._is_again_left:
            self._is_again_left = bool(self._push_keys(AGAIN, PAGE))

    @property
    def _is_round_due(self) -> bool:
        return bool(self._partitions) and self._clock() >= self._due

    def push_lists(self) -> None:
        """Push what is on the lists, except what the store has lost."""
        self._round = list(self._partitions)
        while self._push_page():
            pass

    def _push_page(self) -> bool:
        """Push what is next on the lists; return whether something is left in this round."""
        self._round = self._round or list(self._partitions)
        if not self._round:
            return False
        partition, most = self._round[0], PAGE + self._grown
        self._grown = 0
        unpushed = self._push_keys(partition, most)
        # Not until the list is empty: other workers may keep changing what is on it, and put
        # back what was pushed meanwhile. That is for the next round.
        if len(unpushed.stamps) < most:
            del self._round[0]
        if not unpushed:
            self._partitions.discard(partition)
        return bool(self._round)

    def _push_keys(self, partition: int, most: int) -> Unpushed:
        """Push up to `most` keys of a list; return what was on it."""
        unpushed = self._retrying("unpushed", partial(self._state.unpushed, partition, most))
        self.push([(partition, unpushed)])
        if unpushed and self._on_statistics is not None:
            self._on_statistics(list(unpushed.updates.statistics.values()))
        if unpushed and self._on_co_visitation is not None:
            self._on_co_visitation(list(unpushed.updates.co_visitation.values()))
        return unpushed
