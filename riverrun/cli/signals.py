"""How a command that runs until it is stopped hears of it."""

import os
import signal
import threading
from collections.abc import Callable

from rich.markup import escape

from riverrun.cli.console import err


def stopped_by_signal() -> threading.Event:
    """Return what is set by Ctrl-C and by SIGTERM from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def end_in_time(stopped: threading.Event, seconds: float, waits_for: Callable[[], str]) -> None:
    """End the process, with status 1, where it still runs so long after `stopped` is set.

    For work that may be cut off anywhere. waits_for: says what could not be finished.
    """

    def watch() -> None:
        stopped.wait()
        # Nobody sets this: a daemon thread ends with the process that does not need it.
        threading.Event().wait(seconds)
        err.print(f"[bold red]riverrun:[/] {escape(waits_for())}", soft_wrap=True)
        os._exit(1)

    threading.Thread(target=watch, name="end-in-time", daemon=True).start()
