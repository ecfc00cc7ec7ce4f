"""How a command that runs until it is stopped hears of it, and how it ends."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from queue import SimpleQueue

import structlog
import typer
from rich.markup import escape

from riverrun.cli.console import err

STOP_SECONDS = 8.5
"""A service manager gives ten; the rest is for the interpreter to shut down."""
TWICE_SECONDS = 0.5
"""Two signals within this are one stop: `timeout` signals the process and then its group."""
STOPPED_IN_TURN = (
    {"refresh-scheduler": "a refresh", "drift-watcher": "a refresh"},
    {"stream-worker": "the log", "archiver": "the log", "lag-monitor": "the log"},
    {"index-follower": "the log", "statistics-reader": "the online store"},
)
"""The threads that may have to wait for something, by name, and what for. Each mapping holds those
that are stopped at the same time, and they are stopped in this order."""
LATER = "Nothing is lost: the next start continues from what was committed."


def end_at_sigterm() -> None:
    """Let SIGTERM end the command as Ctrl-C does, by an exception that closes what is open."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def stopped_by_signal() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set from now on; a second signal ends the process."""
    stopped = threading.Event()
    # A handler must not set the event: the code that it interrupts may hold the event's lock, and
    # waiting for it would never end. The `put` of a `SimpleQueue` is reentrant.
    heard: SimpleQueue[None] = SimpleQueue()
    first: list[float] = []

    def hear(number: int, _: object) -> None:
        now = time.monotonic()
        if first and now - first[0] > TWICE_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        first.append(now)
        heard.put(None)

    def stop() -> None:
        heard.get()
        stopped.set()

    threading.Thread(target=stop, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hear)
    return stopped


def end_in_time(
    stopped: threading.Event,
    doing: Mapping[str, str | None],
    failure: Callable[[], BaseException | None] = lambda: None,
) -> None:
    """End the process if it still runs `STOP_SECONDS` after `stopped` is set.

    With the status that `end` has for the `failure`, and 1 where there is none. For work that may
    be cut off anywhere. doing: what each thread is doing, by its name.
    """

    def watch() -> None:
        stopped.wait()
        # Nothing sets this event, so it only waits; if the process ends before, so does the thread.
        threading.Event().wait(STOP_SECONDS)
        why = f"stopped after waiting {STOP_SECONDS:g} s in vain for: {unfinished(doing)}."
        failed = failure()
        stays = failed is not None and _stays(failed)
        if failed is not None:
            why += f" It had failed: {failed}"
        if not stays:
            why += f" {LATER}"
        err.print(f"[bold red]riverrun:[/] {escape(why)}", soft_wrap=True)
        os._exit(2 if stays else 1)

    threading.Thread(target=watch, name="end-in-time", daemon=True).start()


def unfinished(doing: Mapping[str, str | None]) -> str:
    """Name the first threads in `STOPPED_IN_TURN` that still run, and say what each is doing."""
    running = {each.name for each in threading.enumerate()}
    for turn in STOPPED_IN_TURN:
        waiting = sorted(running.intersection(turn))
        if waiting:
            return ", ".join(f"{name} ({doing.get(name) or turn[name]})" for name in waiting)
    return "the connections to close"


def end(failure: BaseException | None) -> None:
    """Log that all is closed; if a thread has failed, say so and end with status 1.

    With 2 where another start would fail likewise.
    """
    structlog.get_logger(__name__).info("stopped")
    if failure is not None:
        stays = _stays(failure)
        why = f"stopped: {failure}" if stays else f"stopped while waiting: {failure} {LATER}"
        err.print(f"[bold red]riverrun:[/] {escape(why)}", soft_wrap=True)
        raise typer.Exit(2 if stays else 1)


def _stays(failure: BaseException) -> bool:
    """Return whether another start would fail likewise."""
    # Imported here, since every command imports this module, and few end like this.
    from feature_repo.event_log import LostPositionError
    from feature_repo.shop_file import PassingShopFileError, ShopFileError
    from streaming.stream_state import ForeignShop, StateLost

    if isinstance(failure, PassingShopFileError):
        return False
    return isinstance(failure, LostPositionError | StateLost | ForeignShop | ShopFileError)
