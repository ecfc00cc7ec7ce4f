"""How many bytes of large bodies may be in memory at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serving.http.problems import busy

FREE_BYTES = 64 * 2**10
"""Smaller bodies do not count, so that they are answered beside large ones, however many."""


class BodyBudget:
    """Counts the bytes of bodies that are read or worked on; call it from one event loop only.

    most: how many bytes bodies of more than `FREE_BYTES` may have together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_hand = 0

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Give a function to be told the size of a body as it grows, which counts within the block.

        The function raises `Problem`, 503, where the bodies in hand would have too many bytes.
        """
        counted = 0

        def grown(size: int) -> None:
            nonlocal counted
            if size <= FREE_BYTES:
                return
            in_hand = self._in_hand + size - counted
            if in_hand > self._most:
                raise busy(f"Large bodies of {self._in_hand} bytes are read or worked on.")
            self._in_hand, counted = in_hand, size

        try:
            yield grown
        finally:
            self._in_hand -= counted
