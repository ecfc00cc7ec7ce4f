"""`riverrun stream`: one worker of the group that learns from the log."""

import threading
import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.status import Status

from riverrun.cli.console import counting, err, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.errors import UserError
from riverrun.interpreter import FEAST, freeze_modules, settle
from riverrun.served_bundle import require_bundle
from riverrun.settings import load_settings

if TYPE_CHECKING:
    from riverrun.stream_worker import StreamWorker

LINE_SECONDS = 1.0


def stream(
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Serve Prometheus metrics here; default: nowhere."),
    ] = None,
    metrics_host: Annotated[
        str | None,
        typer.Option(
            help="Address to serve them on; 0.0.0.0 for a scraper on another machine.  "
            "[default: 127.0.0.1, or http.host of the settings]"
        ),
    ] = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Learn from the log: histories, statistics, embeddings, and the archive.

    Start as many as you like: they share the partitions of a Kafka (`log_url`), and the state and
    online features of a Redis (`online_url`). `riverrun serve` answers requests beside them.
    Stops within ten seconds of SIGTERM or Ctrl-C; nothing that was read is lost. Where a server
    does not answer it says what it could not finish, which the next start does, and returns 1.
    Where it cannot learn any more it ends by itself, says why, and returns 1, or 2 where starting
    it again is no help.
    """
    settings = load_settings(settings_file, home=home)
    from riverrun.metrics import new_registry
    from riverrun.metrics_server import MetricsServer
    from streaming.metrics import StreamMetrics

    metrics = StreamMetrics(new_registry())
    server = None
    if metrics_port is not None:
        host = settings.http.host if metrics_host is None else metrics_host
        server = MetricsServer(host, metrics_port, metrics.registry)
    elif metrics_host is not None:
        raise UserError(f"--metrics-host {metrics_host}: name the port too, by --metrics-port.")
    require_bundle(settings)
    from riverrun.stream_worker import stream_worker

    stopped = stopped_by_signal()
    worker: StreamWorker | None = None
    end_in_time(stopped, metrics.doing, lambda: None if worker is None else worker.stream.failure)
    freeze_modules(*FEAST)
    with ExitStack() as stack:
        with counting("Folding imports") as progress:
            worker = stack.enter_context(stream_worker(settings, metrics, progress))
        if server is not None:
            server.start()
        settle()
        say(f"learning from {settings.event_log_url}; Ctrl-C stops it")
        _watch(worker, stopped)
    end(worker.stream.failure)


def _watch(worker: "StreamWorker", stopped: threading.Event) -> None:
    """Show a line of figures on a terminal until `stopped`, or until the worker fails."""
    live = err.status("waiting for the log") if err.is_terminal else nullcontext()
    before, since = _applied(worker), time.monotonic()
    with live as line:
        while not stopped.wait(LINE_SECONDS):
            if worker.stream.failure is not None:
                # `end` says it once all is closed, which may take no longer than after a signal.
                stopped.set()
                break
            applied, now = _applied(worker), time.monotonic()
            if isinstance(line, Status):
                line.update(_line(worker, (applied - before) / (now - since)))
            before, since = applied, now


def _line(worker: "StreamWorker", per_second: float) -> str:
    reasons = worker.not_ready()
    state = f"[yellow]{escape('; '.join(reasons))}[/]" if reasons else "[green]following[/]"
    archives = ", archiving" if worker.stream.archiver.archives else ""
    partitions = len(worker.stream.worker.positions)
    return (
        f"{state}  {per_second:,.0f} records/s  {worker.stream.lag.total:,} behind  "
        f"{partitions} partitions{archives}"
    )


def _applied(worker: "StreamWorker") -> float:
    """Return how many records the worker has processed."""
    return sum(
        sample.value
        for metric in worker.metrics.records.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
