"""Threads for one kind of work, for which only so many requests may wait."""

import asyncio
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
    threads: how many functions run at a time. queue: how many others may wait.
    """

    def __init__(self, name: str, what: str, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._what = what
        self._most = threads + queue
        self._in_hand = 0

    async def run(self, function: Callable[..., AnswerT], *arguments: object) -> AnswerT:
        """Return what the function returns. Raises `Problem`, 503, where too many wait already."""
        if self._in_hand >= self._most:
            raise busy(f"{self._in_hand} {self._what} are being worked on, or wait.")
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, function, *arguments)
        self._in_hand += 1
        work.add_done_callback(self._done)
        try:
            # A thread cannot be stopped: cancelled work would go on, but not be counted.
            return await asyncio.shield(work)
        finally:
            # An error's traceback leads back to this frame: with `work`, which holds the error,
            # that would be a cycle, and the arguments would stay until Python looks for cycles.
            del work

    def _done(self, _: object) -> None:
        self._in_hand -= 1
