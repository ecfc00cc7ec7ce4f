"""Watches how much the approximate index misses, on query embeddings of recent requests."""

import numpy as np
import numpy.typing as npt
import structlog
from prometheus_client import CollectorRegistry, Gauge

from serving.background import BackgroundThread
from serving.live_model import LiveModel, ModelHolder

RECALL_AT = 10


class RecallMonitor(BackgroundThread):
    """Compares the index with exact search every `seconds`, in a thread of its own; 0 is off.

    The gauge `riverrun_index_recall` holds the last recall@10. It is NaN until the index was
    searched, and 1 while the index is exact.
    """

    def __init__(self, holder: ModelHolder, registry: CollectorRegistry, seconds: float) -> None:
        super().__init__("recall-monitor")
        self._holder = holder
        self._seconds = seconds
        self._recall = Gauge(
            "riverrun_index_recall",
            f"Recall@{RECALL_AT} of the candidate index against exact search, on recent queries.",
            registry=registry,
        )
        self._recall.set(np.nan)
        self._logger = structlog.get_logger(__name__)

    def start(self) -> None:
        """Begin to watch, unless `seconds` is 0."""
        if self._seconds > 0:
            super().start()

    def measure(self) -> float:
        """Compare once; return the recall, NaN where the index was not searched yet."""
        recall = recall_of(self._holder.current)
        self._recall.set(recall)
        return recall

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.measure()
            except Exception:  # A monitor that fails must not end; the next look may succeed.
                self._logger.exception("recall_not_measured")


def recall_of(model: LiveModel) -> float:
    """Return the share of the true best candidates of recent queries that the index finds.

    NaN where this model's index was not searched yet, or has no candidate.
    """
    if model.index.is_exact:
        return 1.0
    queries = list(model.recent_queries)
    return index_recall(model, np.stack(queries)) if queries else float("nan")


def index_recall(model: LiveModel, queries: npt.NDArray[np.float32]) -> float:
    """Return the share of the true best candidates of queries [n, dimension] that it finds.

    NaN where there is no candidate.
    """
    found = model.index.search(queries, RECALL_AT)
    exact = model.table.search(queries, RECALL_AT)
    # Compared by score: of two candidates with the same score either is right.
    worst = exact.scores.min(axis=1, where=np.isfinite(exact.scores), initial=np.inf)
    possible = np.isfinite(exact.scores).sum()
    hits = (np.isfinite(found.scores) & (found.scores >= worst[:, None] - 1e-5)).sum()
    return float(hits / possible) if possible else float("nan")
