"""The embedded deployment: API, log, worker, archiver and online store in one process."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from riverrun.follower import only_follower
from riverrun.metrics import new_registry
from riverrun.served_bundle import require_bundle
from riverrun.server import Complaints, open_grpc, open_serving, read_statistics, services_of
from riverrun.settings import Settings
from riverrun.stream_parts import StreamParts, open_stream
from serving.http.app import create_app
from serving.live_model import ModelHolder
from streaming.applied import AppliedNotifier
from streaming.materialise import Progress
from streaming.metrics import StreamMetrics


@dataclass(frozen=True, slots=True)
class EmbeddedShop:
    """A running shop: its application, the model that serves, and the stream that learns."""

    app: FastAPI
    holder: ModelHolder
    stream: StreamParts


@contextmanager
def embedded_shop(
    settings: Settings, progress: Progress = lambda *_: None
) -> Iterator[EmbeddedShop]:
    """Open the shop in `settings.home`, start its threads, and stop them at the end.

    Parts close in the reverse order of their start, so that the log outlives its readers.

    Raises:
        UserError: there is no bundle yet, it must not be served, the state is lost, or another
            process follows the log.
    """
    require_bundle(settings)
    with ExitStack() as stack:
        stack.enter_context(only_follower(settings))
        serving = open_serving(settings, stack)
        not_ready: list[Complaints] = [serving.not_ready]
        degraded: list[Complaints] = []
        if serving.log.is_shared_out:
            # This worker knows only the items that its own partitions have events of.
            reader = read_statistics(serving, stack)
            not_ready.append(reader.not_ready)
            degraded.append(reader.degraded)
        registry = new_registry()
        applied = AppliedNotifier()
        stream = open_stream(
            settings,
            serving,
            stack,
            StreamMetrics(registry),
            applied=applied,
            on_statistics=serving.trending.tell,
            on_co_visitation=serving.co_visitation.update,
            progress=progress,
        )
        not_ready.append(stream.not_ready)
        services = services_of(
            settings,
            serving,
            stack,
            registry=registry,
            applied=applied,
            not_ready=not_ready,
            degraded=degraded,
        )
        open_grpc(settings, serving.holder, stack)
        yield EmbeddedShop(create_app(services), serving.holder, stream)
