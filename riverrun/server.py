"""The serving deployment: the API over a bundle, the changelog and the online store."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from feature_repo.event_log import EventLogError, GroupedLog
from feature_repo.online_features import OnlineFeatures
from feature_repo.open_online_features import without_password
from riverrun import __version__
from riverrun.errors import UserError
from riverrun.listening import authority
from riverrun.metrics import new_registry
from riverrun.opening import open_log, open_online
from riverrun.served_bundle import require_bundle, saying_how_to_get_one
from riverrun.settings import Settings
from serving.bundle import made_at
from serving.catalogue import Catalogue
from serving.guarded_features import GuardedFeatures
from serving.http.app import create_app
from serving.http.services import (
    MAX_RECORD_BYTES,
    Acceptance,
    Applied,
    Effects,
    Health,
    Services,
)
from serving.index_follower import IndexFollower
from serving.item_rows import ItemRows
from serving.live_model import ModelHolder
from serving.prediction.predictor import Predictor
from serving.recall_monitor import RecallMonitor
from serving.recommender import Recommender
from serving.reload import BundleWatcher, open_current
from serving.saved_model import optimise_little
from serving.sources.co_visitation import CoVisitationSource
from serving.sources.trending import TrendingSource
from serving.statistics_reader import StatisticsReader
from serving.text_embedding_cache import TextEmbeddingCache
from trainer.refresh.metrics import RefreshCollector

Complaints = Callable[[], Sequence[str]]
"""Returns what is wrong, one sentence for each problem."""


@dataclass(frozen=True, slots=True)
class ServingParts:
    """The parts that answer requests, alone or beside a worker in the same process."""

    log: GroupedLog
    online: OnlineFeatures
    catalogue: Catalogue
    holder: ModelHolder
    trending: TrendingSource
    co_visitation: CoVisitationSource
    follower: IndexFollower
    watcher: BundleWatcher

    def not_ready(self) -> Sequence[str]:
        """Say why lists would not be up to date yet."""
        if self.follower.caught_up:
            return []
        return self._complaints() or ["the item changelog is being read"]

    def degraded(self) -> Sequence[str]:
        """Say why a server that is ready does not follow what becomes of items any more."""
        return self._complaints() if self.follower.caught_up else []

    def _complaints(self) -> Sequence[str]:
        error = self.follower.last_error
        if isinstance(error, EventLogError):
            reason = without_password(str(error).rstrip("."))
            return [f"the item changelog cannot be read: {reason}"]
        if error is not None:
            return ["the item changelog cannot be followed; the log says why"]
        return []


def open_serving(settings: Settings, stack: ExitStack) -> ServingParts:
    """Open log, online store and current bundle, and follow changes; `stack` closes them.

    Call `require_bundle` before. Raises `UserError` where the bundle must not be served, a URL is
    invalid, or the log cannot be opened.
    """
    optimise_little()
    log = stack.enter_context(closing(open_log(settings)))
    online = stack.enter_context(closing(open_online(settings)))
    texts = stack.enter_context(closing(TextEmbeddingCache(settings.text_embeddings)))
    rows = ItemRows()
    catalogue = Catalogue(rows)
    with saying_how_to_get_one(settings):
        holder = open_current(settings.bundles, catalogue, settings.serving, texts)
    follower = IndexFollower(log, holder, catalogue)
    watcher = BundleWatcher(settings.bundles, holder, catalogue, settings.serving, texts)
    for part in (follower, watcher):
        part.start()
        stack.callback(part.stop)
    trending = TrendingSource(rows, settings.serving)
    co_visitation = CoVisitationSource(rows, settings.serving)
    return ServingParts(log, online, catalogue, holder, trending, co_visitation, follower, watcher)


def services_of(
    settings: Settings,
    parts: ServingParts,
    stack: ExitStack,
    *,
    registry: CollectorRegistry,
    applied: Applied | None = None,
    not_ready: Sequence[Complaints],
    degraded: Sequence[Complaints] = (),
) -> Services:
    """Return what the HTTP edge needs; `stack` stops its background threads.

    degraded: each says what lists lack at the moment, besides users while the online store is
    away, and changed items while the changelog is.
    """
    monitor = RecallMonitor(parts.holder, registry, settings.serving.recall_seconds)
    monitor.start()
    stack.callback(monitor.stop)
    registry.register(RefreshCollector(settings.bundles))
    registry.register(parts.follower.failed)
    online = GuardedFeatures(parts.online, registry)
    kafka = settings.streaming.kafka
    recommender = Recommender(
        parts.holder,
        parts.catalogue,
        online,
        parts.trending,
        parts.co_visitation,
        settings.serving,
        max_history=settings.history_length,
    )
    return Services(
        recommender=recommender,
        holder=parts.holder,
        catalogue=parts.catalogue,
        online=online,
        online_is_remote=settings.online_is_remote,
        log=parts.log,
        version=__version__,
        effects=None if applied is None else Effects(applied, parts.follower.has_applied),
        append_seconds=None if settings.embedded_log else kafka.timeout_seconds,
        acceptance=Acceptance(
            max_future=timedelta(seconds=settings.streaming.max_future_seconds),
            event_types=frozenset(settings.streaming.event_types),
            max_record_bytes=min(MAX_RECORD_BYTES, kafka.max_record_bytes),
        ),
        health=Health(
            not_ready=_all_of(not_ready),
            bundle_error=lambda: parts.watcher.refusal,
            degraded=_all_of(
                [online.degraded, parts.degraded, outlived_tombstones(settings, parts), *degraded]
            ),
        ),
        registry=registry,
        http=settings.http,
        serving=settings.serving,
    )


def outlived_tombstones(settings: Settings, parts: ServingParts) -> Complaints:
    """Return who says whether brokers may have dropped deletions that the bundle does not have.

    The embedded log keeps them for as long as there is an older bundle.
    """
    days = settings.streaming.tombstone_days

    def complaints() -> Sequence[str]:
        age = datetime.now(UTC) - made_at(parts.holder.current.bundle_version)
        if settings.embedded_log or age < timedelta(days=days):
            return []
        return [
            f"the bundle is older than the {days:g} days for which the changelog keeps deletions, "
            "so that items deleted before may be shown: `riverrun refresh` makes a new one"
        ]

    return complaints


def _all_of(complaints: Sequence[Complaints]) -> Complaints:
    return lambda: [each for some in complaints for each in some()]


def open_grpc(settings: Settings, holder: ModelHolder, stack: ExitStack) -> None:
    """Answer TensorFlow Serving's gRPC API where `grpc.port` is set; `stack` stops it.

    Raises `UserError` where the port cannot be listened on.
    """
    if settings.grpc.port == 0:
        return
    from serving.grpc.server import grpc_server  # Loaded only where it is used.

    api = settings.serving.tensorflow_serving
    server = grpc_server(
        Predictor(holder, api.model_name),
        authority(settings.grpc.host, settings.grpc.port),
        threads=settings.grpc.threads,
        queue=settings.grpc.queue,
        max_message_bytes=api.max_message_bytes,
    )
    try:
        stack.enter_context(server)
    except OSError as error:
        raise UserError(str(error)) from error


def read_statistics(parts: ServingParts, stack: ExitStack) -> StatisticsReader:
    """Start to read the statistics of items that other processes count; `stack` stops it."""
    reader = StatisticsReader(
        parts.online,
        parts.catalogue,
        parts.trending,
        parts.co_visitation,
        caught_up=lambda: parts.follower.caught_up,
    )
    reader.start()
    stack.callback(reader.stop)
    return reader


@contextmanager
def serving_replica(settings: Settings) -> Iterator[FastAPI]:
    """Open a replica, whose worker is another process; its threads stop when the block is left."""
    require_bundle(settings)
    with ExitStack() as stack:
        parts = open_serving(settings, stack)
        reader = read_statistics(parts, stack)
        services = services_of(
            settings,
            parts,
            stack,
            registry=new_registry(),
            not_ready=[parts.not_ready, reader.not_ready],
            degraded=[reader.degraded],
        )
        open_grpc(settings, parts.holder, stack)
        yield create_app(services)
