"""The parts that learn, in every deployment: a worker, an archiver, and their shared state."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from redis import Redis, RedisError

from feature_repo.archive import Archive
from feature_repo.event_log import EventLogError, ForeignFedLog
from feature_repo.eviction import warn_of_eviction
from feature_repo.online_features import CoVisitation, ItemStatistics
from feature_repo.open_online_features import without_password
from riverrun.errors import failed_by
from riverrun.held_model import HeldModel
from riverrun.opening import open_state, require_own_shop
from riverrun.readable_archive import undamaged
from riverrun.server import ServingParts
from riverrun.settings import Settings
from serving.bundle import made_at
from serving.published_bundles import published_versions
from streaming.applied import AppliedNotifier
from streaming.archiver import Archiver
from streaming.lag_monitor import LagMonitor
from streaming.materialise import Progress, materialise
from streaming.metrics import StreamMetrics
from streaming.rebuild import require_log, require_whole
from streaming.redis_state import TIMEOUT_SECONDS
from streaming.retention import housekeep
from streaming.retrying import Retrying
from streaming.standby_archiver import StandbyArchiver
from streaming.store_watch import StoreWatch
from streaming.stream_state import StateError
from streaming.worker import Worker


@dataclass(frozen=True, slots=True)
class StreamParts:
    """The threads that process the stream."""

    worker: Worker
    archiver: StandbyArchiver
    lag: LagMonitor

    @property
    def failure(self) -> BaseException | None:
        """The error that ended the worker or the archiver, or None."""
        return self.worker.failure or self.archiver.failure

    def stop(self) -> None:
        """Stop all of them at once: one that waits for a server must not hold up the others."""
        with ThreadPoolExecutor(3) as pool:
            stops = [pool.submit(part.stop) for part in (self.worker, self.archiver, self.lag)]
        for stop in stops:
            stop.result()

    def not_ready(self) -> Sequence[str]:
        """Return the reasons why new events would not take effect yet."""
        reasons = []
        if self.worker.failure is not None:
            reasons.append(f"the stream worker failed: {self.worker.failure}")
        elif not self.worker.ready:
            reasons.append("the stream worker is recovering")
        if self.archiver.failure is not None:
            reasons.append(f"the archiver failed: {self.archiver.failure}")
        return reasons


def open_stream(
    settings: Settings,
    serving: ServingParts,
    stack: ExitStack,
    metrics: StreamMetrics,
    *,
    applied: AppliedNotifier | None = None,
    on_statistics: Callable[[Sequence[ItemStatistics]], None] | None = None,
    on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None = None,
    progress: Progress = lambda *_: None,
) -> StreamParts:
    """Fold what was imported since the last start, then start to follow the log.

    `stack` stops the threads. Raises `UserError` where the state is lost or another shop's, the
    archive is damaged, or a topic of a Kafka cannot be used as it is, and `RunFailedError` where a
    server does not answer.
    """
    _require_topics(settings)
    state = stack.enter_context(closing(open_state(settings)))
    archive = Archive(settings.archive)
    try:
        with undamaged(archive):
            require_whole(state, archive)
            require_own_shop(settings, state)
            _warn_of_eviction(settings)
            require_log(state, serving.log)
            StoreWatch(state, serving.online).look()
            materialise(
                archive,
                state,
                serving.online,
                serving.log,
                settings=settings.streaming,
                max_history=settings.history_length,
                progress=progress,
            )
    except (StateError, EventLogError, RedisError) as error:
        raise failed_by(error) from error
    worker = Worker(
        serving.log,
        serving.online,
        state,
        HeldModel(serving.holder, serving.catalogue),
        caught_up=lambda: serving.follower.caught_up,
        settings=settings.streaming,
        max_history=settings.history_length,
        applied=applied,
        on_statistics=on_statistics,
        on_co_visitation=on_co_visitation,
        metrics=metrics,
    )
    archiver = StandbyArchiver(
        archive.root,
        lambda: Archiver(
            serving.log,
            archive,
            settings=settings.streaming,
            metrics=metrics,
            housekeeping=lambda: housekeep(
                serving.log, settings.streaming, time.time(), _oldest_bundle(settings.bundles)
            ),
        ),
        Retrying(settings.streaming, metrics),
    )
    lag = LagMonitor(serving.log, worker, metrics)
    if isinstance(serving.log, ForeignFedLog):
        metrics.misplaced.counts = serving.log.misplaced
    parts = StreamParts(worker, archiver, lag)
    stack.callback(parts.stop)
    for part in (worker, archiver, lag):
        part.start()
    return parts


def _oldest_bundle(bundles: Path) -> float:
    """Return when the oldest bundle was made, in seconds since 1970; 0 where there is none now."""
    return min((made_at(each).timestamp() for each in published_versions(bundles)), default=0.0)


def _warn_of_eviction(settings: Settings) -> None:
    """Log where the state's Redis removes keys. The online store looks at its own by itself."""
    url = settings.stream_state_url
    if url != settings.online_store_url and settings.state_is_remote:
        with closing(Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS)) as client:
            warn_of_eviction(client, f"state {without_password(url)}")


def _require_topics(settings: Settings) -> None:
    if settings.embedded_log is not None:
        return
    from streaming.kafka_connection import parse_kafka_url  # An embedded log needs no Kafka.
    from streaming.kafka_topics import TopicMismatchError, require_topics

    connection = parse_kafka_url(settings.event_log_url, settings.streaming.kafka)
    try:
        require_topics(connection, settings.streaming.tombstone_days)
    except (EventLogError, TopicMismatchError) as error:
        raise failed_by(error) from error
