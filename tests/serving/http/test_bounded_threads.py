"""Only so many wait for the threads of one kind of work, and what they do is counted to its end."""

import asyncio
import threading
import time
import weakref
from contextlib import suppress

import pytest

from serving.http.bounded_threads import BoundedThreads
from serving.http.problems import Problem
from tests.support.garbage import without_garbage_collection

SECONDS = 30.0


def test_work_that_nobody_waits_for_any_more_counts_until_it_is_done() -> None:
    go_on = threading.Event()

    async def given_up(threads: BoundedThreads) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await threads.run(go_on.wait, SECONDS)

    async def run() -> None:
        threads = BoundedThreads("test", "works", threads=1, queue=1)
        await given_up(threads)
        await given_up(threads)
        with pytest.raises(Problem, match="2 works are being worked on, or wait"):
            await threads.run(go_on.wait, SECONDS)
        go_on.set()
        async with asyncio.timeout(SECONDS):
            while threads._in_hand:
                await asyncio.sleep(0.01)
        assert await threads.run(go_on.wait, SECONDS)

    asyncio.run(run())


def test_who_waits_too_long_is_told_and_what_has_not_begun_is_not_done() -> None:
    go_on = threading.Event()
    done: list[str] = []

    def work(name: str) -> None:
        go_on.wait(SECONDS)
        done.append(name)

    async def run() -> None:
        threads = BoundedThreads("test", "works", threads=1, queue=1, seconds=0.1)
        start = time.monotonic()
        waits = [threads.run(work, name) for name in ("begun", "queued")]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [TimeoutError] * 2
        # One after the other, the second would have waited for the first.
        assert time.monotonic() - start < SECONDS / 2
        # Both are in memory yet, and count.
        with pytest.raises(Problem, match="2 works"):
            await threads.run(work, "one too many")
        go_on.set()
        async with asyncio.timeout(SECONDS):
            while threads._in_hand:
                await asyncio.sleep(0.01)
        await threads.run(work, "later")

    asyncio.run(run())
    assert done == ["begun", "later"]


def test_an_error_is_the_callers_and_a_place_is_free_again() -> None:
    async def run() -> None:
        threads = BoundedThreads("test", "works", threads=1, queue=0)
        for _ in range(3):
            with pytest.raises(ValueError, match="'x'"):
                await threads.run(int, "x")

    asyncio.run(run())


class Body:
    """Something that can be asked whether it is still in memory."""


def test_what_was_worked_on_is_freed_with_the_error() -> None:
    kept: list[weakref.ref[Body]] = []

    def refuse(body: Body) -> None:
        raise ValueError(body)

    async def ask(threads: BoundedThreads) -> None:
        body = Body()
        kept.append(weakref.ref(body))
        await threads.run(refuse, body)

    async def run() -> None:
        threads = BoundedThreads("test", "works", threads=1, queue=0)
        for _ in range(3):
            with suppress(ValueError):
                await ask(threads)
        # The thread lets go of its last work while it waits for the next.
        await threads.run(int)
        assert [body() for body in kept] == [None] * 3

    with without_garbage_collection():
        asyncio.run(run())
