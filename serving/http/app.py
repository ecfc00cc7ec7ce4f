"""The ASGI application of API v1."""

from pathlib import Path

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from serving.http import documentation, problems
from serving.http.ingest import ingest_routes
from serving.http.models import AliveAnswer, ReadyAnswer
from serving.http.recommendations import recommendation_routes
from serving.http.services import Services
from serving.http.telemetry import RequestMetrics, StateCollector
from serving.http.tensorflow_serving import tensorflow_serving_routes
from serving.ranking import reasons
from serving.source_shares import SourceShares

STATIC = Path(__file__).with_name("static")
POLICY = "default-src 'self'"
"""The demo shop needs nothing from any other host, and no scripts of any other origin."""


class _IdConvertor(Convertor[str]):
    """The part of a path that is an id: it may hold slashes."""

    # Line breaks too: no id has them, but the route then says so, as of other characters.
    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _ShownIdConvertor(_IdConvertor):
    """An id at the end of a path, which "/similar" does not end: that asks for similar items."""

    regex = r"(?:(?!/similar$)[\s\S])+"


def create_app(services: Services) -> FastAPI:
    """Return the application over `services`. It starts and stops nothing."""
    register_url_convertor("id", _IdConvertor())
    register_url_convertor("shown_id", _ShownIdConvertor())
    app: FastAPI = FastAPIOffline(
        redoc_url=None,
        # /v1/items/ is answered 404; it is not another name of /v1/items.
        redirect_slashes=False,
        title="Riverrun",
        version=services.version,
        description="Recommendation that learns from the event stream.",
        openapi_tags=[
            {"name": "lists", "description": "What to show."},
            {"name": "events", "description": "What people do."},
            {"name": "items", "description": "What can be shown."},
            {"name": "users", "description": "Whom it is shown to."},
            {
                "name": "operations",
                "description": "How the server is. Query parameters are passed over: probes and "
                "scrapers add some of their own.",
            },
        ],
    )
    problems.install(app)
    documentation.install(app)
    places = services.serving.attributed_places
    event_types = services.acceptance.event_types or reasons.VERBS
    shares = SourceShares(services.registry, places, event_types)
    app.include_router(ingest_routes(services, shares))
    app.include_router(recommendation_routes(services, shares))
    app.include_router(tensorflow_serving_routes(services))
    _operations(app, services)
    app.add_middleware(RequestMetrics, registry=services.registry)
    services.registry.register(StateCollector(services))
    return app


def _operations(app: FastAPI, services: Services) -> None:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def shop() -> FileResponse:
        """Show the demo shop."""
        return FileResponse(STATIC / "shop.html", headers={"Content-Security-Policy": POLICY})

    @app.get("/healthz", tags=["operations"], response_model=AliveAnswer)
    async def healthz() -> Response:
        """Whether the process answers at all."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get(
        "/readyz",
        tags=["operations"],
        response_model=ReadyAnswer,
        responses=documentation.problems(503),
    )
    async def readyz() -> Response:
        """Whether lists can be had that are up to date; if not, why.

        `degraded` says what is wrong though they are answered: a new bundle was refused and the
        old one serves on, or something beside the server fails.
        """
        if missing := services.health.not_ready():
            raise problems.Problem(503, f"Not ready: {'; '.join(missing)}.")
        version = services.holder.current.bundle_version
        answer = ReadyAnswer(
            status="ready",
            model_version=version,
            degraded=services.health.complaints(),
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.get(
        "/metrics",
        tags=["operations"],
        response_class=PlainTextResponse,
        responses=documentation.answer("riverrun_catalogue_items 2000.0\n", "text/plain"),
    )
    async def metrics() -> Response:
        """Prometheus metrics."""
        # Some metrics are read from files, which another process may hold locked.
        latest = await run_in_threadpool(generate_latest, services.registry)
        return Response(latest, media_type=CONTENT_TYPE_LATEST)
