"""Tries of a work that is killed by SIGKILL, each a fork of this process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

PlaceT = TypeVar("PlaceT")


def tries(
    kills: Sequence[PlaceT], nowhere: PlaceT, attempt: Callable[[PlaceT], None]
) -> Iterator[None]:
    """Fork once for each place, and yield as that try has ended; the last is killed `nowhere`.

    attempt: does the work, and is killed at the place. Exits where a try ends otherwise.
    """
    for place in (*kills, nowhere):
        child = os.fork()
        if not child:
            attempt(place)
            sys.exit()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code != (0 if place == nowhere else -signal.SIGKILL):
            sys.exit(f"{place}: ended with {code}")
        yield
