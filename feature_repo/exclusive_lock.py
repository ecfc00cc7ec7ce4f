"""A lock on a file, for one process at a time, which the system releases when that ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeldError(RuntimeError):
    """Another process holds the lock."""


@contextmanager
def exclusive(file: Path, otherwise: Exception | None = None) -> Iterator[None]:
    """Hold the lock on `file`, which is made if there is none.

    Where another process holds it, raises `otherwise`, or `LockHeldError` if that is None.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise otherwise or LockHeldError(f"{file} is held.") from None
        yield
    finally:
        os.close(descriptor)


def is_held(file: Path) -> bool:
    """Return whether a process holds the lock; False where there is no file, or it is not known.

    Asking holds the lock for a moment, in which another process fails to get it: ask seldom.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
