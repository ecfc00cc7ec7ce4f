"""The streaming deployment: one worker of the group that keeps histories and embeddings."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from riverrun.follower import only_follower
from riverrun.served_bundle import require_bundle
from riverrun.server import ServingParts, open_serving
from riverrun.settings import Settings
from riverrun.stream_parts import StreamParts, open_stream
from streaming.materialise import Progress
from streaming.metrics import StreamMetrics


@dataclass(frozen=True, slots=True)
class StreamWorker:
    """A running worker and its metrics."""

    serving: ServingParts
    stream: StreamParts
    metrics: StreamMetrics

    def not_ready(self) -> Sequence[str]:
        """Return the reasons why new events would not take effect yet."""
        return [*self.serving.not_ready(), *self.stream.not_ready()]


@contextmanager
def stream_worker(
    settings: Settings, metrics: StreamMetrics, progress: Progress = lambda *_: None
) -> Iterator[StreamWorker]:
    """Open a worker beside any number of others; its threads stop when the block is left.

    It has the bundle and follows the item changelog as a server does, because a history is
    embedded from the candidate embeddings of its items.

    Raises:
        UserError: there is no bundle yet, it must not be served, the state is lost, or another
            process follows an embedded log.
    """
    require_bundle(settings)
    # A worker does not search: an approximate index would be built for nothing.
    exact = settings.serving.model_copy(update={"exact_below": sys.maxsize})
    with ExitStack() as stack:
        stack.enter_context(only_follower(settings))
        serving = open_serving(settings.model_copy(update={"serving": exact}), stack)
        stream = open_stream(settings, serving, stack, metrics, progress=progress)
        try:
            yield StreamWorker(serving, stream, metrics)
        finally:
            # Now, since it may wait for the same server as the parts that are stopped before it.
            serving.follower.end()
