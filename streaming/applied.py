"""Tells a waiting request that the worker has passed its records.

A request says what it will wait for before it appends, so nothing has to be remembered for
requests that never ask, and memory is bounded by the requests that wait.
"""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

RecordId = tuple[str, str]
"""A topic and the id of an event, an item or a user."""


class AppliedNotifier:
    """Connects the requests and the worker of one process. Safe for use by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[RecordId, list[_Waiter]] = {}

    @contextmanager
    def expect(self, topic: str, ids: Iterable[str]) -> Iterator["Future[None]"]:
        """Give a future that is done once all `ids` of `topic` are applied.

        Enter before the append, wait inside: `future.result(timeout)` in a thread, or
        `asyncio.wait_for(asyncio.wrap_future(future), timeout)`.
        """
        waiter = _Waiter({(topic, each) for each in ids})
        with self._lock:
            for each in waiter.missing:
                self._waiting.setdefault(each, []).append(waiter)
        if not waiter.missing:
            waiter.future.set_result(None)
        try:
            yield waiter.future
        finally:
            with self._lock:
                for each in waiter.missing:
                    others = self._waiting[each]
                    others.remove(waiter)
                    if not others:
                        del self._waiting[each]

    def notify(self, applied: Iterable[RecordId]) -> None:
        """Say that these records have taken effect."""
        complete = []
        with self._lock:
            if not self._waiting:
                return
            for each in applied:
                for waiter in self._waiting.pop(each, ()):
                    waiter.missing.discard(each)
                    if not waiter.missing:
                        complete.append(waiter.future)
        for future in complete:
            if future.set_running_or_notify_cancel():
                future.set_result(None)


class _Waiter:
    def __init__(self, missing: set[RecordId]) -> None:
        self.missing = missing
        self.future: Future[None] = Future()
