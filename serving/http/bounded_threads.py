"""Threads for one kind of work, for which only so many requests may wait."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.http.problems import busy

AnswerT = TypeVar("AnswerT")


class BoundedThreads:
    """Runs functions in threads of its own; call it from one event loop only.

    Each kind of work has an object of its own, so that none waits for work of another that hangs.

    Work goes on, and counts, where the request that asked for it is gone.

    name: the threads' name. what: names the work in the answer to requests that are turned away.
    threads: how many functions run at a time. queue: how many others may wait. seconds: how long
    a request waits at most, for a thread and for its work together; None: for as long as it takes.
    """

    def __init__(
        self, name: str, what: str, threads: int, queue: int, seconds: float | None = None
    ) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._what = what
        self._most = threads + queue
        self._seconds = seconds
        self._in_hand = 0

    async def run(self, function: Callable[..., AnswerT], *arguments: object) -> AnswerT:
        """Return what the function returns.

        Raises `Problem`, 503, where too many wait already, and `TimeoutError` where `seconds` are
        over: what has not begun by then is not done any more.
        """
        if self._in_hand >= self._most:
            raise busy(f"{self._in_hand} {self._what} are being worked on, or wait.")
        loop = asyncio.get_running_loop()
        given_up = threading.Event()
        work = loop.run_in_executor(self._executor, _do, given_up, function, *arguments)
        self._in_hand += 1
        work.add_done_callback(self._done)
        try:
            # A thread cannot be stopped: cancelled work would go on, but not be counted.
            async with asyncio.timeout(self._seconds) as limit:
                return await asyncio.shield(work)
        except TimeoutError:
            if limit.expired():
                given_up.set()
            raise
        finally:
            # An error's traceback leads back to this frame: with `work`, which holds the error,
            # that would be a cycle, and the arguments would stay until Python looks for cycles.
            del work

    def _done(self, _: object) -> None:
        self._in_hand -= 1


def _do(given_up: threading.Event, function: Callable[..., AnswerT], *arguments: object) -> AnswerT:
    if given_up.is_set():
        raise TimeoutError
    return function(*arguments)
