"""Request metrics, without a thread or a copy in the request's way."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.services import Services

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""The label of all other methods: a parser takes 34, each of which would be a series of a route."""
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class RequestMetrics:
    """ASGI middleware that measures every request by route, method and status."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._seconds = Histogram(
            "riverrun_http_request_seconds",
            "Time to answer, by route, method and status.",
            ["route", "method", "status"],
            buckets=_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and observe its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's template: paths with ids would make a time series for every id.
            route = getattr(scope.get("route"), "path_format", "none")
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            seconds = time.perf_counter() - start
            self._seconds.labels(route, method, status).observe(seconds)


class StateCollector(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        """Return catalogue size, index size, the served bundle, and whether another was refused."""
        model = self._services.holder.current
        items = GaugeMetricFamily("riverrun_catalogue_items", "Items of the catalogue.")
        items.add_metric([], len(self._services.catalogue))
        candidates = GaugeMetricFamily("riverrun_index_candidates", "Candidates in the index.")
        candidates.add_metric([], len(model.table))
        bundle = InfoMetricFamily("riverrun_bundle", "The bundle that serves.")
        bundle.add_metric([], {"version": model.bundle_version})
        refused = GaugeMetricFamily(
            "riverrun_bundle_refused",
            "1 while the newest bundle is refused and an older one serves.",
        )
        refused.add_metric([], self._services.health.bundle_error() is not None)
        return [items, candidates, bundle, refused]
