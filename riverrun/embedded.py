"""The embedded deployment: API, log, worker, archiver and online store in one process."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from feature_repo.archive import Archive
from riverrun.errors import UserError
from riverrun.server import ServingParts, open_serving, services_of
from riverrun.settings import Settings
from riverrun.state import open_state
from serving.http.app import create_app
from serving.live_model import ModelHolder
from streaming.applied import AppliedNotifier
from streaming.archiver import Archiver
from streaming.materialise import Progress, materialise
from streaming.metrics import StreamMetrics
from streaming.rebuild import require_whole
from streaming.retention import housekeep
from streaming.stream_state import StateLost
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
        UserError: there is no bundle yet, it must not be served, or the state is lost.
    """
    with ExitStack() as stack:
        serving = open_serving(settings, stack)
        state = open_state(settings)
        stack.callback(state.close)
        archive = Archive(settings.archive)
        try:
            require_whole(state, archive)
        except StateLost as error:
            raise UserError(str(error)) from error
        # What was imported since the last start, before a worker runs on the same state.
        materialise(
            archive,
            state,
            serving.online,
            serving.log,
            settings=settings.streaming.co_visitation,
            max_history=settings.history_length,
            progress=progress,
        )
        registry = CollectorRegistry()
        metrics = StreamMetrics(registry)
        applied = AppliedNotifier()
        worker = Worker(
            serving.log,
            serving.online,
            state,
            lambda: serving.holder.current.encoder,
            space=lambda: serving.holder.current.space,
            settings=settings.streaming,
            max_history=settings.history_length,
            applied=applied,
            on_statistics=serving.trending.update,
            on_co_visitation=serving.co_visitation.update,
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
            registry=registry,
            applied=applied,
            not_ready=lambda: _not_ready(serving, worker, archiver),
        )
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
