"""`riverrun up`: the whole shop in one process."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riverrun.cli.console import counting, err
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.interpreter import FEAST, HTTP, freeze_modules, settle
from riverrun.listening import listening_socket, url_of
from riverrun.served_bundle import require_bundle
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from riverrun.embedded import EmbeddedShop
    from riverrun.stream_parts import StreamParts

HostOption = Annotated[
    str | None, typer.Option("--host", help="Address to listen on.  [default: 127.0.0.1]")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", "-p", min=0, max=65_535, help="Port to listen on.  [default: 8080]"),
]


def up(
    host: HostOption = None,
    port: PortOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Serve the shop and learn from its events: API, log, worker and stores in one process.

    What is accepted is on disk before it is answered: stop it as you like, and start it again.
    SIGTERM or Ctrl-C closes all it holds within ten seconds; a second one ends it at once. Where it
    cannot learn any more it ends by itself, says why, and returns 1.
    """
    settings = load_settings(settings_file, home=home)
    listening = listen(settings, host, port)
    with opened_shop(settings) as shop:
        err.print(f"bundle {shop.holder.current.bundle_version} of {settings.home}")
        with refreshes_of(settings, settings_file):
            stopped = stopped_by_signal()
            end_in_time(stopped, shop.stream.worker.metrics.doing)
            serve_until(ended_by(stopped, shop.stream), shop.app, listening)
    end(shop.stream.failure)


@contextmanager
def refreshes_of(settings: Settings, settings_file: Path | None) -> Iterator[None]:
    """Refresh the model by `refresh.schedule` and by `refresh.drift`, where they are set."""
    from riverrun.drifting import DriftWatcher
    from riverrun.scheduling import RefreshScheduler

    with ExitStack() as stack:
        if settings.refresh.schedule:
            refreshes = RefreshScheduler.of(settings, settings_file)
            refreshes.start()
            stack.callback(refreshes.stop)
            err.print(f"the model is renewed at {refreshes.due:%Y-%m-%d %H:%M} UTC")
        watcher = DriftWatcher(settings, settings_file)
        watcher.start()
        stack.callback(watcher.stop)
        yield


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


def listen(settings: Settings, host: str | None, port: int | None) -> socket.socket:
    """Return a socket bound to the address, before anything slow is done."""
    return listening_socket(
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


def serve_until(ended: Callable[[], bool], app: "FastAPI", listening: socket.socket) -> None:
    """Answer requests until `ended` says so; requests in flight are answered first."""
    from riverrun.http_server import HttpServer

    url = url_of(listening)
    err.print(f"open [bold]{url}[/] (the shop), [bold]{url}/docs[/] (the API)")
    settle()
    HttpServer(app, ended).run(sockets=[listening])
