"""Watches how far a worker is behind the end of the log."""

import structlog

from feature_repo.event_log import EventLogError, GroupedLog
from serving.background import BackgroundThread
from streaming.metrics import StreamMetrics
from streaming.worker import TOPICS, Worker

LOOK_SECONDS = 2.0


class LagMonitor(BackgroundThread):
    """Measures every two seconds, in a thread of its own."""

    def __init__(self, log: GroupedLog, worker: Worker, metrics: StreamMetrics) -> None:
        super().__init__("lag-monitor")
        self.total = 0
        self._log = log
        self._worker = worker
        self._metrics = metrics
        self._logger = structlog.get_logger(__name__)

    def measure(self) -> int:
        """Return, and export, how many offsets this worker has still to read.

        A partition of which nothing was read yet is behind by all that the log has of it.
        """
        ends = self._log.ends(TOPICS)
        assigned, positions = self._worker.assigned, self._worker.positions
        if not assigned <= positions.keys():
            starts = self._log.starts(TOPICS)
            positions = {each: starts[each] for each in assigned if each in starts} | positions
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
