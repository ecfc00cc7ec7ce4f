"""A thread that follows the log."""

from abc import abstractmethod

import structlog

from feature_repo.event_log import LogConsumer
from serving.background import BackgroundThread
from streaming.retrying import Retrying


class StreamThread(BackgroundThread):
    """Runs `_follow` from `start` on, until `stop` or until it fails; then `failure` says why.

    retrying: repeats what fails in the thread, until that is stopped.
    """

    _consumer: LogConsumer

    def __init__(self, name: str, stop_seconds: float, retrying: Retrying) -> None:
        super().__init__(name, stop_seconds)
        # One event for both: a pause before a retry must end when the thread is stopped.
        self._stop = retrying.stop
        self._retrying = retrying
        self.failure: BaseException | None = None
        self._logger = structlog.get_logger(type(self).__module__)

    def stop(self) -> None:
        """Finish the step in hand, and release the partitions."""
        super().stop()
        self._consumer.close()

    def _run(self) -> None:
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
        """Process records until `_stop` is set, then write out what is left."""
