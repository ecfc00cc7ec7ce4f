"""What the stream counts for Prometheus."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from feature_repo.event_log import CO_PARTITIONED, EVENTS, TopicPartition

RETRIED = (
    "poll",
    "dead letters",
    "load",
    "learn",
    "commit state",
    "push",
    "forget pushed",
    "unpushed",
    "commit",
    "archive",
)
"""The stages that are tried again when they fail."""
_RESULTS = (
    *((EVENTS, result) for result in ("applied", "repeated", "erased")),
    ("items and users", "applied"),
    *((topic, "dead") for topic in CO_PARTITIONED),
)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class LagCollector(Collector):
    """Exports `offsets` as they are: a partition that is not among them is not exported."""

    def __init__(self) -> None:
        self.offsets: Mapping[TopicPartition, int] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the one metric."""
        metric = GaugeMetricFamily(
            "riverrun_stream_lag",
            "Offsets between the next one to read and the end of the partition.",
            labels=["topic", "partition"],
        )
        for (topic, partition), behind in self.offsets.items():
            metric.add_metric([topic, str(partition)], behind)
        yield metric


class MisplacedCollector(Collector):
    """Exports `counts`, records by topic, as they are now; zeros of topics that have none."""

    def __init__(self) -> None:
        self.counts: Mapping[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the one metric."""
        metric = CounterMetricFamily(
            "riverrun_stream_misplaced_records",
            "Records found in another partition than their key's, of those looked at.",
            labels=["topic"],
        )
        for topic, count in {**dict.fromkeys(CO_PARTITIONED, 0), **self.counts}.items():
            metric.add_metric([topic], count)
        yield metric


class StreamMetrics:
    """Counters of one worker and its archiver, in `registry` (a new one by default).

    Those with labels begin with zeros: Prometheus sees no increase in what a series begins with.

    doing: the stage that each thread is at, by the thread's name; None between two.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.doing: dict[str, str | None] = {}
        self.records = Counter(
            "riverrun_stream_records",
            "Records read, by topic and result (applied, repeated, erased, dead).",
            ["topic", "result"],
            registry=self.registry,
        )
        self.batches = Histogram(
            "riverrun_stream_batch_seconds",
            "Time from polled to pushed, per micro-batch.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.stages = Counter(
            "riverrun_stream_stage_seconds",
            "Time spent, by stage.",
            ["stage"],
            registry=self.registry,
        )
        self.retries = Counter(
            "riverrun_stream_retries",
            "Steps that failed and were repeated, by stage.",
            ["stage"],
            registry=self.registry,
        )
        self.failed_encodings = Counter(
            "riverrun_stream_failed_encodings",
            "Users and items stored without an embedding because the encoder failed.",
            registry=self.registry,
        )
        self.reencoded = Counter(
            "riverrun_stream_reencoded_users",
            "Users embedded again because their embedding was of another bundle, or missing.",
            registry=self.registry,
        )
        self.reencoding = Gauge(
            "riverrun_stream_reencoding",
            "1 while users are looked for whose embedding is not of the current bundle.",
            registry=self.registry,
        )
        self.position = Gauge(
            "riverrun_stream_position",
            "Next offset to read, by group, topic and partition.",
            ["group", "topic", "partition"],
            registry=self.registry,
        )
        self.lag = LagCollector()
        self.registry.register(self.lag)
        self.misplaced = MisplacedCollector()
        self.registry.register(self.misplaced)
        self.archived = Counter(
            "riverrun_archive_rows",
            "Rows written to the archive, by topic.",
            ["topic"],
            registry=self.registry,
        )

        for topic, result in _RESULTS:
            self.records.labels(topic, result)
        for stage in RETRIED:
            self.retries.labels(stage)
        for topic in CO_PARTITIONED:
            self.archived.labels(topic)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to the stage's total; `doing` names the stage meanwhile."""
        thread = threading.current_thread().name
        before = self.doing.get(thread)
        self.doing[thread] = name
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages.labels(name).inc(time.perf_counter() - start)
            self.doing[thread] = before
