"""The embedded deployment: API, log, worker, archiver and online store in one process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from feature_repo.archive import Archive
from riverrun.server import ServingParts, open_grpc, open_serving, services_of
from riverrun.settings import Settings
from serving.http.app import create_app
from serving.live_model import ModelHolder
from streaming.applied import AppliedNotifier
from streaming.archiver import Archiver
from streaming.checkpoint import Checkpoint
from streaming.materialise import Progress, materialise
from streaming.metrics import StreamMetrics
from streaming.retention import housekeep
from streaming.worker import Worker


@dataclass(frozen=True, slots=True)
class EmbeddedShop:
    """A running shop: its application, and the model that serves."""

    app: FastAPI
    holder: ModelHolder


@contextmanager
def embedded_shop(
    settings: Settings, progress: Progress = lambda *_: None
) -> Iterator[EmbeddedShop]:
    """Open the shop in `settings.home`, start its threads, and stop them in the end.

    Parts close in the reverse order of their start, so that the log outlives its readers.

    Raises:
        UserError: there is no bundle yet, or it must not be served.
    """
    with ExitStack() as stack:
        serving = open_serving(settings, stack)
        checkpoint = Checkpoint(settings.checkpoint)
        stack.callback(checkpoint.close)
        archive = Archive(settings.archive)
        # What was imported since the last start, before a worker runs on the same state.
        materialise(
            archive,
            checkpoint,
            serving.online,
            serving.log,
            max_history=settings.history_length,
            progress=progress,
        )
        registry = CollectorRegistry()
        metrics = StreamMetrics(registry)
        applied = AppliedNotifier()
        worker = Worker(
            serving.log,
            serving.online,
            checkpoint,
            lambda: serving.holder.current.encoder,
            settings=settings.streaming,
            max_history=settings.history_length,
            applied=applied,
            on_statistics=serving.trending.update,
            metrics=metrics,
        )
        archiver = Archiver(
            serving.log,
            archive,
            settings=settings.streaming,
            metrics=metrics,
            housekeeping=lambda: housekeep(serving.log, settings.streaming, time.time()),
        )
        for part in (worker, archiver):
            part.start()
            stack.callback(part.stop)
        services = services_of(
            settings,
            serving,
            stack,
            registry=registry,
            applied=applied,
            not_ready=lambda: _not_ready(serving, worker, archiver),
        )
        open_grpc(settings, serving.holder, stack)
        yield EmbeddedShop(create_app(services), serving.holder)


def _not_ready(serving: ServingParts, worker: Worker, archiver: Archiver) -> Sequence[str]:
    reasons = list(serving.not_ready())
    if worker.failure is not None:
        reasons.append(f"the stream worker failed: {worker.failure}")
    elif not worker.ready:
        reasons.append("the stream worker is recovering")
    if archiver.failure is not None:
        reasons.append(f"the archiver failed: {archiver.failure}")
    return reasons
