"""Waiting for what another thread or process brings about."""

import time
from collections.abc import Callable

LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], otherwise: str = "", *, seconds: float) -> None:
    """Return once `condition` holds; fail, saying `otherwise`, where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(LOOK_SECONDS)
