"""Builds the stream worker: makes and connects its parts."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from feature_repo.event_log import EventLog
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import CoVisitation, ItemStatistics, OnlineFeatures
from feature_repo.schema import Item
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from streaming.applied import AppliedNotifier
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.outbox_relay import OutboxRelay
from streaming.publisher import Embedded, Publisher, all_embedded
from streaming.reencoding import UserReencoder
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.store_watch import StoreWatch
from streaming.stream_state import OpenState
from streaming.worker import Worker


def build_worker(
    log: EventLog,
    online: OnlineFeatures,
    state: OpenState,
    encoder: Callable[[], Encoder | None],
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    space: Callable[[], CandidateSpace | None] = lambda: None,
    served: Callable[[str], Item | None] = lambda _: None,
    embedded: Embedded = all_embedded,
    caught_up: Callable[[], bool] = lambda: True,
    applied: AppliedNotifier | None = None,
    on_statistics: Callable[[Sequence[ItemStatistics]], None] | None = None,
    on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None = None,
    metrics: StreamMetrics | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
) -> Worker:
    """Return a worker that consumes `log`, keeps `state`, and pushes to `online`.

    encoder: gives the current bundle's encoder, or None while there is none.
    space: gives the scale of that bundle's candidates; without it no item embedding moves.
    served: gives an item as the bundle has it; without it the embeddings of items that were
        imported and never sent do not move.
    embedded: as for `Publisher`.
    caught_up: whether that encoder has the items of the changelog.
    on_statistics, on_co_visitation: called with those that are pushed, and at the start with all.
    clock: gives the time of day. monotonic: a clock in seconds, with any start.
    """
    settings = settings or StreamingSettings()
    metrics = metrics or StreamMetrics()
    retrying = Retrying(settings, metrics)
    publisher = Publisher(
        log, online, encoder, metrics, clock, space, state.items, settings, served, embedded
    )
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
        state, online, encoder, publisher, metrics, settings.max_retry_seconds, monotonic, embedded
    )
    return Worker(
        log,
        state,
        Learner(state, encoder, space, settings, metrics),
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
