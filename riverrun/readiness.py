"""Waits for a server of this package to answer requests with its model."""

import time
from collections.abc import Callable

import httpx

POLL_SECONDS = 0.05


def wait_until_ready(url: str, ended: Callable[[], bool], path: str = "/readyz") -> bool:
    """Return true once the server at `url` answers `path` with 2xx; false where `ended` is before.

    A server that is not there yet is waited for.
    """
    with httpx.Client(base_url=url, timeout=5) as client:
        while not ended():
            try:
                if client.get(path).is_success:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(POLL_SECONDS)
    return False
