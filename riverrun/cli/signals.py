"""How a command that runs until it is stopped hears of it."""

import signal
import threading


def stopped_by_signal() -> threading.Event:
    """Return what is set by Ctrl-C and by SIGTERM from now on."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped
