"""What commands do until they are stopped: keep a shop open, renew its model, answer requests."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from riverrun.cli.console import counting, err
from riverrun.interpreter import FEAST, HTTP, freeze_modules, settle
from riverrun.listening import bound_socket, start_listening, url_of
from riverrun.served_bundle import require_bundle
from riverrun.settings import Settings
from serving.background import BackgroundThread

if TYPE_CHECKING:
    from fastapi import FastAPI

    from riverrun.embedded import EmbeddedShop
    from riverrun.stream_parts import StreamParts


@contextmanager
def refreshes_of(settings: Settings, settings_file: Path | None) -> Iterator[None]:
    """Refresh the model by `refresh.schedule` and by `refresh.drift`, where they are set."""
    from riverrun.drifting import DriftWatcher
    from riverrun.scheduling import RefreshScheduler

    parts: list[BackgroundThread] = [DriftWatcher(settings, settings_file)]
    if settings.refresh.schedule:
        refreshes = RefreshScheduler(settings, settings_file)
        err.print(f"the model is renewed at {refreshes.due:%Y-%m-%d %H:%M} UTC")
        parts.append(refreshes)
    for part in parts:
        part.start()
    try:
        yield
    finally:
        # All of them first: each may wait for a process that ends.
        for part in parts:
            part.end()
        for part in parts:
            part.stop()


@contextmanager
def opened_shop(settings: Settings) -> "Iterator[EmbeddedShop]":
    """Open the embedded shop, showing how its state is brought up to date."""
    require_bundle(settings)
    from riverrun.embedded import embedded_shop

    freeze_modules(*FEAST, *HTTP)
    with ExitStack() as stack:
        with counting("Folding imports") as progress:
            shop = stack.enter_context(embedded_shop(settings, progress))
        yield shop


def bind(settings: Settings, host: str | None, port: int | None) -> socket.socket:
    """Return a socket bound to the address, before anything slow is done."""
    return bound_socket(
        settings.http.host if host is None else host,
        settings.http.port if port is None else port,
    )


def ended_by(stopped: threading.Event, stream: "StreamParts") -> Callable[[], bool]:
    """Return a function that tells whether to end: whether `stopped` is set, or the stream failed.

    It sets `stopped` itself where the stream failed, since a failed worker does not start again.
    """

    def ended() -> bool:
        if stream.failure is not None:
            stopped.set()
        return stopped.is_set()

    return ended


def serve_until(ended: Callable[[], bool], app: "FastAPI", bound: socket.socket) -> None:
    """Answer requests until `ended` says so; requests in flight are answered first."""
    from riverrun.http_server import HttpServer

    settle()
    start_listening(bound)
    url = escape(url_of(bound))
    err.print(f"open [bold]{url}[/] (the shop), [bold]{url}/docs[/] (the API)")
    HttpServer(app, ended).run(sockets=[bound])
