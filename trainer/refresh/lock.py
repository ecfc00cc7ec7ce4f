"""At most one refresh of a shop at work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.exclusive_lock import exclusive, is_held

_FILE = "refresh.lock"


class RefreshRunning(Exception):  # noqa: N818 — what is, not what went wrong
    """Another refresh of the same shop is at work."""


@contextmanager
def refresh_lock(bundles: Path) -> Iterator[None]:
    """Be the one refresh at work; the system ends this with the process, however it ends.

    Raises `RefreshRunning` where another is.
    """
    bundles.mkdir(parents=True, exist_ok=True)
    file = bundles / _FILE
    with exclusive(file, RefreshRunning(f"another refresh is at work: {file} is held.")):
        yield


def is_at_work(bundles: Path) -> bool:
    """Return whether a refresh or a training is at work. Ask seldom: see `is_held`."""
    return is_held(bundles / _FILE)
