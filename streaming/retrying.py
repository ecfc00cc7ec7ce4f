"""Trying again while a store or the log is down."""

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from feature_repo.event_log import EventLogError, LostPositionError
from streaming.metrics import StreamMetrics
from streaming.settings import StreamingSettings
from streaming.stream_state import ForeignShop, StateConflict, StateError, StateLost

T = TypeVar("T")

HOPELESS = (StateConflict, StateLost, ForeignShop, LostPositionError)


class Retrying:
    """Repeats a failing action, with growing pauses, until it succeeds or `stop` is set.

    A store that is down delays the stream; nothing is lost.

    stop: an event that ends the thread as a whole.
    """

    def __init__(self, settings: StreamingSettings, metrics: StreamMetrics) -> None:
        self.stop = threading.Event()
        self._settings = settings
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def __call__(
        self,
        stage: str,
        action: Callable[[], T],
        errors: tuple[type[Exception], ...] = (EventLogError, StateError),
    ) -> T:
        """Return what `action` returns, however often it has to be tried.

        stage: what it is called in metrics and logs. Raises the last error once `stop` is set,
        and immediately where a retry cannot help (`HOPELESS`).
        """
        pause = self._settings.retry_seconds
        failures = 0
        while True:
            try:
                with self._metrics.stage(stage):
                    done = action()
            except errors as error:
                if self.stop.is_set() or isinstance(error, HOPELESS):
                    raise
                failures += 1
                self._metrics.retries.labels(stage).inc()
                self._logger.warning("step_failed", stage=stage, error=str(error), retry_in=pause)
                self.stop.wait(pause)
                pause = min(pause * 2, self._settings.max_retry_seconds)
            else:
                if failures:
                    self._logger.info("step_succeeded", stage=stage, failures=failures)
                return done
