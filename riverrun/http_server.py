"""The HTTP server of a shop, which leaves signals to its process."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from riverrun.bounded_http_protocol import BoundedHttpProtocol

DRAIN_SECONDS = 4
"""How long requests in flight may take once the server is stopped."""
KEEP_ALIVE_SECONDS = 75
"""How long a connection may be idle between two requests. Longer than clients and proxies keep one,
mostly 60 s at most: a request that comes while the server closes its connection has no answer."""


class HttpServer(uvicorn.Server):
    """Answers until `ended` says to stop, and then answers requests in flight first.

    Once it has shut down, Uvicorn raises the signal that stopped it again. That would end the
    process before the worker, the log and the stores are closed.
    """

    def __init__(self, app: FastAPI, ended: Callable[[], bool]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHttpProtocol,
                # Not its warnings: one for each request that is no HTTP, which is answered 400.
                log_level="error",
                access_log=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self._ended = ended

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the code that made `ended`."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; Uvicorn asks ten times a second."""
        return await super().on_tick(counter) or self._ended()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, and answer what is in flight."""
        structlog.get_logger(__name__).info("stopping")
        await super().shutdown(sockets)
