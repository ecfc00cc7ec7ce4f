"""The relay of a transactional outbox: publishes what the state lists as unpushed."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from feature_repo.online_features import CoVisitation, ItemStatistics
from streaming.publisher import Publisher
from streaming.retrying import Retrying
from streaming.stream_state import AGAIN, OpenState, Unpushed
from streaming.updates import Updates

T = TypeVar("T")

PAGE = 50
"""How many keys of a list are pushed between two batches: events wait meanwhile."""


class OutboxRelay:
    """Publishes unpushed values, and takes their keys off the lists of their partitions.

    A batch's whole values are published at once, by `push`. Sums over partitions change with every
    event: they stay on the lists, and `step` publishes them page by page. It does the same with
    what the online store has lost, the list of `AGAIN`, which may be as long as the state.

    every_seconds: the pause between two rounds over the lists.
    on_statistics, on_co_visitation: called with those of each page; None where nobody listens.
    clock: seconds, with any start.
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
        # The partitions whose lists may hold keys, and those that this round has still to do.
        self._partitions: set[int] = set()
        self._round: list[int] = []
        self._is_again_left = False
        # How many keys were added since the last page.
        self._grown = 0
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a page is to be pushed now."""
        return self._is_again_left or self._is_round_due

    def tell_all(self) -> None:
        """Call the listeners with the sums of every item, as they are in the state."""
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
        """Publish the unpushed values of partitions, then take their keys off the lists."""
        updates = Updates.together(each.updates for _, each in unpushed)
        if updates.is_visible:
            self._publish(updates)
        for partition, each in unpushed:
            if each:
                forget = partial(self._state.forget_pushed, partition, each.stamps)
                self._retrying("forget pushed", forget)

    def _publish(self, updates: Updates) -> None:
        publisher = self._publisher
        items = self._repeat(lambda: publisher.append_items(updates.items, updates.fold_in))
        self._repeat(lambda: publisher.push(updates, items))
        moved = self._repeat(lambda: publisher.append_moved(updates))
        self._repeat(lambda: publisher.push_moved(updates, moved))

    def _repeat(self, step: Callable[[], T]) -> T:
        # A store that is down may raise anything.
        return self._retrying("push", step, (Exception,))

    def step(self) -> None:
        """Push a page of the lists if a round is due, and one of `AGAIN` if any is left."""
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
        """Push all that is on the lists, except that of `AGAIN`."""
        self._round = list(self._partitions)
        while self._push_page():
            pass

    def _push_page(self) -> bool:
        """Push the next page of the lists; return whether any is left in this round."""
        self._round = self._round or list(self._partitions)
        if not self._round:
            return False
        partition, most = self._round[0], PAGE + self._grown
        self._grown = 0
        unpushed = self._push_keys(partition, most)
        # A short page ends the list, though it may not be empty: other workers may change values
        # meanwhile, so that keys go back on it. Those are for the next round.
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
