"""What follows the log in a thread of its own."""

from abc import abstractmethod

import structlog

from feature_repo.event_log import LogConsumer
from serving.background import BackgroundThread
from streaming.retrying import Retrying


class StreamThread(BackgroundThread):
    """Runs `_follow` from `start` on, until `stop` or until it fails; then `failure` says why.

    retrying: what the thread tries again, until it is stopped.
    """

    _consumer: LogConsumer

    def __init__(self, name: str, stop_seconds: float, retrying: Retrying) -> None:
        super().__init__(name, stop_seconds)
        # One event: what waits to try again must hear of the end.
        self._stop = retrying.stop
        self._retrying = retrying
        self.failure: BaseException | None = None
        self._logger = structlog.get_logger(type(self).__module__)

    def stop(self) -> None:
        """Finish what is in hand, and let others have the partitions."""
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
        """Carry on until `_stop` is set, then bring out what is left."""
