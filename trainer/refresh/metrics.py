"""Refreshes and the served bundle for Prometheus, read from the bundles' folder when asked for."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_repo.shop_file import ShopFileError
from serving.bundle import BundleError, read_manifest
from serving.published_bundles import current_bundle
from trainer.refresh.lock import is_at_work
from trainer.refresh.runs_file import Outcome, RunsFile


class RefreshCollector(Collector):
    """Gauges of every process that serves, whichever process refreshes."""

    def __init__(
        self, bundles: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._bundles = bundles
        self._runs = RunsFile(bundles)
        self._clock = clock
        self._ended: Counter[str] = Counter()
        self._readable = True

    def collect(self) -> Iterable[Metric]:
        """Return runs by outcome, the newest run's steps, the served bundle's age, and drift.

        Where the file of runs cannot be read, what it would say is left out; that is logged once.
        """
        try:
            read = list(self._of_runs())
        except ShopFileError as error:
            if self._readable:
                structlog.get_logger(__name__).error("refresh_runs_not_read", reason=str(error))
            read = []
        self._readable = bool(read)
        return [*read, *self._ages()]

    def _of_runs(self) -> Iterable[Metric]:
        # First, so that no run counts both here and as one that was killed.
        ended = Counter(self._runs.ends())
        begun = self._runs.begun()
        at_work = bool(begun) and is_at_work(self._bundles)
        if begun and not at_work:
            # Of these nobody was at work on any, and one that ended meanwhile is not there twice.
            ended["failed"] += len(begun & self._runs.begun())
        running = GaugeMetricFamily(
            "riverrun_refreshes_running", "Refreshes at work.", value=int(at_work)
        )
        # The next refresh is at work before it has counted one that was killed; no counter falls.
        self._ended |= ended
        outcomes = CounterMetricFamily(
            "riverrun_refresh_runs", "Refreshes that have ended.", labels=["outcome"]
        )
        # Zeros too: Prometheus sees no increase where a series begins.
        for outcome in get_args(Outcome):
            outcomes.add_metric([outcome], self._ended[outcome])
        steps = GaugeMetricFamily(
            "riverrun_refresh_step_seconds", "Duration by step, last refresh.", labels=["step"]
        )
        newest = self._runs.newest()
        for step, seconds in (self._runs.step_seconds(newest.run_id) if newest else {}).items():
            steps.add_metric([step], seconds)
        drift = GaugeMetricFamily(
            "riverrun_drift", "Drift as last measured, by signal.", labels=["signal"]
        )
        for signal, value in self._runs.drift().items():
            drift.add_metric([signal], value)
        # What is said of one that was published is which gates were not asked.
        published = self._runs.newest("published")
        left_open = GaugeMetricFamily(
            "riverrun_refresh_gates_open",
            "Whether the last refresh that published left a gate of quality open.",
            value=int(published is not None and bool(published.message)),
        )
        return [running, outcomes, steps, drift, left_open]

    def _ages(self) -> Iterable[Metric]:
        """Yield how old the bundle that `CURRENT` names is; nothing where it cannot be read."""
        try:
            path = current_bundle(self._bundles)
            manifest = None if path is None else read_manifest(path)
        except BundleError:
            manifest = None
        if manifest is None:
            return
        for name, help_text, moment in (
            ("riverrun_bundle_age_seconds", "Since it was made.", manifest.created_at),
            (
                "riverrun_bundle_data_age_seconds",
                "Since the newest event that it learned from.",
                manifest.data_window.end,
            ),
        ):
            if moment is not None:
                seconds = (self._clock() - moment).total_seconds()
                yield GaugeMetricFamily(name, help_text, value=seconds)
