"""At most one process at something, by a lock that the system ends with the process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockHeldError(RuntimeError):
    """Another process is at it."""


@contextmanager
def exclusive(file: Path, otherwise: Exception | None = None) -> Iterator[None]:
    """Be the one to hold `file`, which is made if there is none.

    Where another is, raises `otherwise`, or if that is None a `LockHeldError`.
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
    """Return whether a process holds `file`; False where there is no such file, or none can tell.

    Who begins to hold it at this very moment is turned away: ask seldom.
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
