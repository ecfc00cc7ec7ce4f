"""Work that goes on beside requests."""

import threading
from abc import ABC, abstractmethod


class BackgroundThread(ABC):
    """Runs `_run` in a thread of its own from `start` on, until `stop`.

    `_run` looks at `_stop`, and returns soon after it is set.

    stop_seconds: how long `stop` waits for `_run` to return; None waits for as long as it takes.
    """

    def __init__(self, name: str, stop_seconds: float | None = None) -> None:
        self._stop = threading.Event()
        self._stop_seconds = stop_seconds
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Begin nothing more, and do not wait: several threads can be ended at the same time."""
        self._stop.set()

    def stop(self) -> None:
        """Begin nothing more, and wait for what is in progress."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(self._stop_seconds)

    @abstractmethod
    def _run(self) -> None: ...
