"""How a command that runs until it is stopped hears of it, and how it ends."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from queue import SimpleQueue

import structlog
import typer
from rich.markup import escape

from riverrun.cli.console import err

STOP_SECONDS = 8.5
"""Of the ten that a service manager gives, some are for the interpreter's own end."""
TWICE_SECONDS = 0.5
"""Who signals a process and its group, as `timeout` does, means one stop by two signals."""
STOPPED_IN_TURN = (
    {"refresh-scheduler": "a refresh", "drift-watcher": "a refresh"},
    {"stream-worker": "the log", "archiver": "the log", "lag-monitor": "the log"},
    {"index-follower": "the log", "statistics-reader": "the online store"},
)
"""The threads that may wait for others, in the order in which they are stopped, and for what."""
LATER = "Nothing is lost: the next start continues from what was committed."


def stopped_by_signal() -> threading.Event:
    """Return what is set by Ctrl-C and by SIGTERM from now on; a second one ends the process."""
    stopped = threading.Event()
    # An event's lock may be held by the very code that a signal interrupts: to wait for it there
    # would never end. A queue's `put` may interrupt itself.
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


def end_in_time(stopped: threading.Event, doing: Mapping[str, str | None]) -> None:
    """End the process, with status 1, where it still runs `STOP_SECONDS` after `stopped` is set.

    For work that may be cut off anywhere. doing: what threads are at, by their names.
    """

    def watch() -> None:
        stopped.wait()
        # Nobody sets this: a daemon thread ends with the process that does not need it.
        threading.Event().wait(STOP_SECONDS)
        why = f"stopped after waiting {STOP_SECONDS:g} s in vain for: {unfinished(doing)}. {LATER}"
        err.print(f"[bold red]riverrun:[/] {escape(why)}", soft_wrap=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-in-time", daemon=True).start()


def unfinished(doing: Mapping[str, str | None]) -> str:
    """Name the threads that still run of those that are stopped at once, and what they are at."""
    running = {each.name for each in threading.enumerate()}
    for turn in STOPPED_IN_TURN:
        waiting = sorted(running.intersection(turn))
        if waiting:
            return ", ".join(f"{name} ({doing.get(name) or turn[name]})" for name in waiting)
    return "the connections to close"


def end(failure: BaseException | None) -> None:
    """Log that all is closed; where a thread has failed say so, and end with status 1."""
    structlog.get_logger(__name__).info("stopped")
    if failure is not None:
        # Here: every command imports this module, and few end so.
        from feature_repo.event_log import LostPositionError
        from streaming.stream_state import StateLost

        later = "" if isinstance(failure, LostPositionError | StateLost) else f" {LATER}"
        why = f"stopped while waiting: {failure}{later}"
        err.print(f"[bold red]riverrun:[/] {escape(why)}", soft_wrap=True)
        raise typer.Exit(1)
