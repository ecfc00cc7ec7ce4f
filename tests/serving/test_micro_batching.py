"""Calls of many threads share runs, and none sees anything of the others but time."""

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.micro_batching import BatchedCall, BatchQueue, MicroBatcher
from serving.settings import BatchingSettings
from tests.support.garbage import without_garbage_collection


@given(
    rows=st.lists(st.integers(0, 9), max_size=30),
    max_rows=st.integers(1, 12),
)
def test_batches_are_what_came_in_order_and_no_larger_than_allowed(
    rows: list[int], max_rows: int
) -> None:
    queue: BatchQueue[int, int] = BatchQueue(max_rows, 0.0)
    for place, count in enumerate(rows):
        queue.append(BatchedCall(place, count, 0.0))
    batches = []
    while queue.first is not None:
        batches.append(queue.take())
    assert [call.value for batch in batches for call in batch] == list(range(len(rows)))
    for batch in batches:
        assert len(batch) == 1 or sum(call.rows for call in batch) <= max_rows
    for batch, following in pairwise(batches):
        assert sum(call.rows for call in batch) + following[0].rows > max_rows


def test_a_batch_is_due_when_it_is_full_or_its_first_call_has_waited() -> None:
    queue: BatchQueue[str, str] = BatchQueue(max_rows=4, max_delay=2.0)
    assert queue.due_in(0.0) == 0
    queue.append(BatchedCall("first", 2, since=10.0))
    assert queue.due_in(10.5) == 1.5
    assert queue.due_in(13.0) == 0
    second: BatchedCall[str, str] = BatchedCall("second", 2, since=11.0)
    queue.append(second)
    assert queue.due_in(10.5) == 0
    assert queue.remove(second)
    assert not queue.remove(second)
    assert queue.due_in(10.5) == 1.5


class Doubling:
    """Doubles numbers, refuses negative ones, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, values: list[int]) -> Sequence[int]:
        self.running.set()
        assert self.go_on.wait(60)
        assert self._lock.acquire(blocking=False), "two batches at once"
        try:
            self.batches.append(values)
            if any(value < 0 for value in values):
                raise ValueError(f"negative: {values}")
            return [2 * value for value in values]
        finally:
            self._lock.release()


def waiting(batcher: MicroBatcher[int, int], count: int) -> None:
    while len(batcher._queue._calls) < count:
        pass


def test_what_comes_while_a_batch_runs_is_the_next_batch() -> None:
    double = Doubling()
    batcher = MicroBatcher(double, BatchingSettings(max_rows=64))
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(batcher, 1)
        assert double.running.wait(60)
        others = [pool.submit(batcher, value) for value in range(2, 12)]
        waiting(batcher, 10)
        double.go_on.set()
        assert first.result() == 2
        assert [other.result() for other in others] == [2 * value for value in range(2, 12)]
    assert [len(batch) for batch in double.batches] == [1, 10]


def test_a_bad_value_fails_alone() -> None:
    double = Doubling()
    batcher = MicroBatcher(double, BatchingSettings())
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(batcher, 1)
        assert double.running.wait(60)
        others = {value: pool.submit(batcher, value) for value in (-1, 5, -2, 6)}
        waiting(batcher, 4)
        double.go_on.set()
        assert first.result() == 2
        assert others[5].result() == 10
        assert others[6].result() == 12
        for value in (-1, -2):
            with pytest.raises(ValueError, match=rf"negative: \[{value}\]"):
                others[value].result()


class Value:
    """Something that can be asked whether it is still in memory."""


@pytest.mark.parametrize("max_rows", [1, 8])
def test_a_value_that_is_refused_is_freed_with_its_error(max_rows: int) -> None:
    values: list[weakref.ref[Value]] = []

    def refuse(batch: Sequence[Value]) -> Sequence[int]:
        raise ValueError("no")

    batcher = MicroBatcher(refuse, BatchingSettings(max_rows=max_rows))

    def call() -> None:
        value = Value()
        values.append(weakref.ref(value))
        batcher(value)

    with without_garbage_collection():
        for _ in range(3):
            with suppress(ValueError):
                call()
        assert [value() for value in values] == [None] * 3


def test_a_call_that_no_batch_takes_in_time_gives_up_and_the_others_go_on() -> None:
    double = Doubling()
    batcher = MicroBatcher(double, BatchingSettings())
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher, 1)
        assert double.running.wait(60)
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            batcher(2, timeout=0.01)
        patient = pool.submit(batcher, 3, 60.0)
        waiting(batcher, 1)
        double.go_on.set()
        assert (first.result(), patient.result()) == (2, 6)
    assert double.batches == [[1], [3]]


def test_who_cannot_wait_keeps_nobody_from_being_answered() -> None:
    double = Doubling()
    batcher = MicroBatcher(double, BatchingSettings())
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher, 1)
        assert double.running.wait(60)
        with pytest.raises(OverflowError):
            batcher(2, timeout=1e30)
        patient = pool.submit(batcher, 3, 60.0)
        waiting(batcher, 1)
        double.go_on.set()
        assert (first.result(), patient.result()) == (2, 6)
    assert batcher(4) == 8


def test_too_few_results_are_an_error_and_not_somebody_elses() -> None:
    def forgetful(values: list[int]) -> list[int]:
        return values[: 1 - len(values) % 2]

    batcher: MicroBatcher[int, int] = MicroBatcher(forgetful, BatchingSettings())
    with pytest.raises(RuntimeError, match="1 values gave 0 results"):
        batcher(1)
    with pytest.raises(RuntimeError, match="1 values gave 0 results"):
        batcher(2, timeout=5.0)


def test_a_full_batch_does_not_wait_for_its_delay() -> None:
    double = Doubling()
    double.go_on.set()
    batcher = MicroBatcher(double, BatchingSettings(max_rows=4, max_delay_ms=1000), clock=lambda: 0)
    with ThreadPoolExecutor(4) as pool:  # the clock stands still: only size can end the wait
        assert sorted(pool.map(batcher, range(4))) == [0, 2, 4, 6]
    assert sorted(double.batches[0]) == [0, 1, 2, 3]


def test_many_threads_get_their_own_results() -> None:
    double = Doubling()
    double.go_on.set()
    batcher = MicroBatcher(double, BatchingSettings(max_rows=8))
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(batcher, range(2000))) == [2 * value for value in range(2000)]


def test_one_row_means_that_every_call_runs_on_its_own() -> None:
    double = Doubling()
    double.go_on.set()
    batcher = MicroBatcher(double, BatchingSettings(max_rows=1))
    assert [batcher(value) for value in range(3)] == [0, 2, 4]
    assert double.batches == [[0], [1], [2]]
