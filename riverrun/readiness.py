"""Waits for a server of this package to answer requests with its model."""

import time
from collections.abc import Callable

import httpx

POLL_SECONDS = 0.05


def wait_until_ready(url: str, ended: Callable[[], bool]) -> bool:
    """Return true once `/readyz` of the server at `url` says so, false where `ended` does before.

    A server that is not there yet is waited for.
    """
    with httpx.Client(base_url=url, timeout=5) as client:
        while not ended():
            try:
                if client.get("/readyz").is_success:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(POLL_SECONDS)
    return False
