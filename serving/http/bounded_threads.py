"""Threads for one kind of work, for which only so many requests may wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.http.problems import busy

AnswerT = TypeVar("AnswerT")


class BoundedThreads:
    """Runs functions beside the event loop, whose only caller it is.

    Work of another kind has threads of its own, so that it need not wait for what hangs here.

    What is being done goes on, and counts, where nobody waits for it any more.

    name: of the threads. what: is being done, in the words of the answer to whom is turned away.
    """

    def __init__(self, name: str, what: str, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._what = what
        self._most = threads + queue
        self._in_hand = 0

    async def run(self, function: Callable[..., AnswerT], *arguments: object) -> AnswerT:
        """Return what the function returns; raises `Problem`, 503, where too many wait already."""
        if self._in_hand >= self._most:
            raise busy(f"{self._in_hand} {self._what} are being worked on, or wait.")
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, function, *arguments)
        self._in_hand += 1
        work.add_done_callback(self._done)
        # No thread can be stopped: a work that is cancelled would only not be counted.
        return await asyncio.shield(work)

    def _done(self, _: object) -> None:
        self._in_hand -= 1
