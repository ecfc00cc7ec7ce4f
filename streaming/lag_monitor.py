"""Watches how far a worker is behind the end of the log."""

import structlog

from feature_repo.event_log import EventLog, EventLogError
from serving.background import BackgroundThread
from streaming.metrics import StreamMetrics
from streaming.worker import TOPICS, Worker

LOOK_SECONDS = 2.0


class LagMonitor(BackgroundThread):
    """Measures every two seconds, in a thread of its own."""

    def __init__(self, log: EventLog, worker: Worker, metrics: StreamMetrics) -> None:
        super().__init__("lag-monitor")
        self.total = 0
        self._log = log
        self._worker = worker
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def measure(self) -> int:
        """Return, and export, how many offsets this worker has still to read."""
        ends = self._log.ends(TOPICS)
        positions = self._worker.positions
        behind = {each: max(ends.get(each, at) - at, 0) for each, at in positions.items()}
        # Only these: another worker exports the partitions that it has taken over.
        self._metrics.lag.offsets = behind
        self.total = sum(behind.values())
        return self.total

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.measure()
            except EventLogError as error:
                self._logger.warning("lag_not_measured", error=str(error))
