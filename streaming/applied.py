"""Tells a waiting request that the worker has applied its records."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

from feature_repo.event_log import TopicPartition


class AppliedNotifier:
    """Connects the requests and the worker of one process. Safe for use by many threads.

    It goes by offsets, not by ids: of two changes of one item that wait for the worker, the first
    must not answer for the second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The offset after the last applied record of each partition, as far as it is known.
        self._applied: dict[TopicPartition, int] = {}
        self._waiting: set[_Waiter] = set()

    @contextmanager
    def expect(self, positions: Mapping[TopicPartition, int]) -> Iterator["Future[None]"]:
        """Give a future that is done once all records before `positions` are applied.

        positions: as `EventLog.append` returned them. Wait inside: `future.result(timeout)` in a
        thread, or `asyncio.wait_for(asyncio.wrap_future(future), timeout)`.
        """
        waiter = _Waiter(positions)
        with self._lock:
            if waiter.is_reached_by(self._applied):
                waiter.future.set_result(None)
            else:
                self._waiting.add(waiter)
        try:
            yield waiter.future
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def notify(self, positions: Mapping[TopicPartition, int]) -> None:
        """Say that all records before these offsets have taken effect."""
        with self._lock:
            for source, offset in positions.items():
                # A partition that is assigned again may be read again from an earlier offset.
                self._applied[source] = max(offset, self._applied.get(source, 0))
            reached = {each for each in self._waiting if each.is_reached_by(self._applied)}
            self._waiting -= reached
        for each in reached:
            if each.future.set_running_or_notify_cancel():
                each.future.set_result(None)


class _Waiter:
    def __init__(self, positions: Mapping[TopicPartition, int]) -> None:
        self._positions = positions
        self.future: Future[None] = Future()

    def is_reached_by(self, applied: Mapping[TopicPartition, int]) -> bool:
        return all(applied.get(source, 0) >= at for source, at in self._positions.items())
