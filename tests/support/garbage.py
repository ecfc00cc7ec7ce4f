"""What is freed at once, because it is in no cycle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Keep, within the block, what only a search for cycles would free."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
