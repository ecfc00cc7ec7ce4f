"""Concurrent calls of a batched function, run together.

`BatchQueue` decides what is a batch, and is pure: time is an argument. `MicroBatcher` runs the
batches in the threads of its callers.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from serving.settings import BatchingSettings

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")


@dataclass(slots=True, eq=False)
class BatchedCall(Generic[InputT, OutputT]):
    """A call on its way through a batch.

    rows: what it counts for towards `max_rows`. since: when it came, in seconds. leads: whether its
    thread runs the next batch. woken: set once it leads or has its outcome.
    """

    value: InputT
    rows: int
    since: float
    outcome: "Future[OutputT]" = field(default_factory=Future)
    leads: bool = False
    woken: threading.Event = field(default_factory=threading.Event)


class BatchQueue(Generic[InputT, OutputT]):
    """The calls that wait, in the order in which they came.

    A batch is due once its rows reach `max_rows`, or its first call has waited `max_delay`
    seconds. A call that has more rows is a batch of its own.
    """

    def __init__(self, max_rows: int, max_delay: float) -> None:
        self._max_rows = max_rows
        self._max_delay = max_delay
        self._calls: list[BatchedCall[InputT, OutputT]] = []

    @property
    def first(self) -> BatchedCall[InputT, OutputT] | None:
        """The call that has waited longest."""
        return self._calls[0] if self._calls else None

    def append(self, call: BatchedCall[InputT, OutputT]) -> None:
        """Put a call at the end of the queue."""
        self._calls.append(call)

    def remove(self, call: BatchedCall[InputT, OutputT]) -> bool:
        """Take a call out of the queue; return whether it was still in it."""
        if call not in self._calls:
            return False
        self._calls.remove(call)
        return True

    def due_in(self, now: float) -> float:
        """Return the seconds until the next batch is due; 0 where it is due, or no call waits."""
        if not self._calls or sum(call.rows for call in self._calls) >= self._max_rows:
            return 0.0
        return max(0.0, self._calls[0].since + self._max_delay - now)

    def take(self) -> list[BatchedCall[InputT, OutputT]]:
        """Remove and return the next batch."""
        rows = count = 0
        for call in self._calls:
            rows += call.rows
            if count and rows > self._max_rows:
                break
            count += 1
        batch, self._calls = self._calls[:count], self._calls[count:]
        return batch


class MicroBatcher(Generic[InputT, OutputT]):
    """Calls `run` with the values of many threads at once, and one call of it at a time.

    Calls that come while `run` works are the next batch, so that concurrent calls share a call of
    `run` even without a delay, and a caller who is alone need not wait. There is no thread of its
    own: the caller who comes first leads, that is, runs a batch in its thread, and then names the
    first of those who wait to lead.

    run: values -> as many results. rows_of: what a value counts for in `settings.max_rows`.
    """

    def __init__(
        self,
        run: Callable[[list[InputT]], Sequence[OutputT]],
        settings: BatchingSettings,
        rows_of: Callable[[InputT], int] = lambda value: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._rows_of = rows_of
        self._clock = clock
        self._shares = settings.max_rows > 1
        self._queue: BatchQueue[InputT, OutputT] = BatchQueue(
            settings.max_rows, settings.max_delay_ms / 1000
        )
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._led = False

    def __call__(self, value: InputT, timeout: float | None = None) -> OutputT:
        """Return the result for `value`.

        Raises what `run` raises for this value alone, and `TimeoutError` where no batch took the
        value within `timeout` seconds.
        """
        if not self._shares:
            return self._run([value])[0]
        call: BatchedCall[InputT, OutputT] = BatchedCall(value, self._rows_of(value), self._clock())
        with self._lock:
            self._queue.append(call)
            call.leads = not self._led
            self._led = True
            self._grown.notify()
        if not call.leads:
            self._follow(call, timeout)
        if call.leads:
            self._lead()
        try:
            return call.outcome.result()
        finally:
            # An error's traceback leads to frames that hold the call: with its outcome, which holds
            # the error, that would be a cycle, and the value would stay until it is searched for.
            del call.outcome

    def _follow(self, call: BatchedCall[InputT, OutputT], timeout: float | None) -> None:
        """Wait until `call` leads or is answered."""
        try:
            if call.woken.wait(timeout):
                return
        except BaseException:
            # If it were named to lead after it has left, nobody would ever be answered.
            with self._lock:
                if self._queue.remove(call) and call.leads:
                    self._hand_on()
            raise
        with self._lock:
            if not call.leads and self._queue.remove(call):
                raise TimeoutError(f"no batch took the call within {timeout} s")
        call.woken.wait()

    def _lead(self) -> None:
        """Run one batch, which holds the caller's own call, and name a successor."""
        with self._lock:
            while (due := self._queue.due_in(self._clock())) > 0:
                self._grown.wait(due)
            batch = self._queue.take()
        try:
            self._answer(batch)
        except BaseException as error:
            for call in batch:
                if not call.outcome.done():
                    call.outcome.set_exception(error)
            raise
        finally:
            with self._lock:
                self._hand_on()
            for call in batch:
                call.woken.set()

    def _hand_on(self) -> None:
        """Name the first of those who wait to lead, if there is one; the lock is held."""
        successor = self._queue.first
        self._led = successor is not None
        if successor is not None:
            successor.leads = True
            successor.woken.set()

    def _answer(self, batch: Sequence[BatchedCall[InputT, OutputT]]) -> None:
        try:
            results = self._run([call.value for call in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} values gave {len(results)} results.")
            for call, result in zip(batch, results, strict=True):
                call.outcome.set_result(result)
        except Exception as error:  # noqa: BLE001 - raised again by the caller it concerns
            if len(batch) == 1:
                batch[0].outcome.set_exception(error)
                return
            # One bad value must not fail the others.
            for call in batch:
                self._answer([call])
