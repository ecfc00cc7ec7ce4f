"""What follows the log in a thread of its own."""

import threading
from abc import ABC, abstractmethod

import structlog

from feature_repo.event_log import LogConsumer
from streaming.retrying import Retrying


class StreamThread(ABC):
    """Runs `_follow` from `start` on, until `stop` or until it fails; then `failure` says why.

    stop_seconds: how long `stop` waits for the thread to finish what it has in hand.
    retrying: what the thread tries again, until it is stopped.
    """

    _consumer: LogConsumer

    def __init__(self, name: str, stop_seconds: float, retrying: Retrying) -> None:
        self.failure: BaseException | None = None
        self._retrying = retrying
        self._stop = retrying.stop
        self._stop_seconds = stop_seconds
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)
        self._logger = structlog.get_logger(type(self).__module__)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is in hand, and return once the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._stop_seconds)
        self._consumer.close()

    def run(self) -> None:
        """Work until `stop`."""
        try:
            self._follow()
        except BaseException as error:
            self.failure = error
            if self._stop.is_set() and isinstance(error, Exception):
                self._logger.warning("stopped_while_waiting", error=str(error))
            else:
                self._logger.exception("stream_failed", thread=self._thread.name)
            if not isinstance(error, Exception):
                raise

    @abstractmethod
    def _follow(self) -> None:
        """Carry on until `_stop` is set, then bring out what is left."""
