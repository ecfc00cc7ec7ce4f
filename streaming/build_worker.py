"""Builds the stream worker: makes and connects its parts."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from feature_repo.event_log import EventLog
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import CoVisitation, ItemStatistics, OnlineFeatures
from streaming.applied import AppliedNotifier
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.outbox_relay import OutboxRelay
from streaming.publisher import Publisher
from streaming.reencoding import UserReencoder
from streaming.retrying import Retrying
from streaming.served_model import ServedModel
from streaming.settings import StreamingSettings
from streaming.store_watch import StoreWatch
from streaming.stream_state import OpenState
from streaming.worker import Worker


def build_worker(
    log: EventLog,
    online: OnlineFeatures,
    state: OpenState,
    model: ServedModel,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    caught_up: Callable[[], bool] = lambda: True,
    applied: AppliedNotifier | None = None,
    on_statistics: Callable[[Sequence[ItemStatistics]], None] | None = None,
    on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None = None,
    metrics: StreamMetrics | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
) -> Worker:
    """Return a worker that consumes `log`, keeps `state`, and pushes to `online`.

    caught_up: whether the model's encoder has the items of the changelog.
    on_statistics, on_co_visitation: called with those that are pushed, and at the start with all.
    clock: gives the time of day. monotonic: a clock in seconds, with any start.
    """
    settings = settings or StreamingSettings()
    metrics = metrics or StreamMetrics()
    retrying = Retrying(settings, metrics)
    publisher = Publisher(log, online, state, model, metrics, clock, settings)
    relay = OutboxRelay(
        state,
        publisher,
        retrying,
        settings.statistics_seconds,
        on_statistics,
        on_co_visitation,
        monotonic,
    )
    reencoder = UserReencoder(
        state, online, model, publisher, metrics, settings.max_retry_seconds, monotonic
    )
    return Worker(
        log,
        state,
        Learner(state, model, settings, metrics),
        relay,
        reencoder,
        StoreWatch(state, online, settings.max_retry_seconds, monotonic),
        retrying,
        settings=settings,
        metrics=metrics,
        applied=applied or AppliedNotifier(),
        max_history=max_history,
        caught_up=caught_up,
        monotonic=monotonic,
    )
