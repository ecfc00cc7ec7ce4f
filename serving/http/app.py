"""The ASGI application of API v1."""

from pathlib import Path

import orjson
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import FileResponse, Response

from serving.http import documentation, problems
from serving.http.ingest import ingest_routes
from serving.http.models import StatusAnswer
from serving.http.recommendations import recommendation_routes
from serving.http.services import Services
from serving.http.telemetry import RequestMetrics, StateCollector

STATIC = Path(__file__).with_name("static")


def create_app(services: Services) -> FastAPI:
    """Return the application over `services`. It starts and stops nothing."""
    app: FastAPI = FastAPIOffline(
        title="Riverrun",
        version="1",
        description="Search and recommendation that learns from the event stream.",
        openapi_tags=[
            {"name": "lists", "description": "What to show."},
            {"name": "events", "description": "What people do."},
            {"name": "items", "description": "What can be shown."},
            {"name": "users", "description": "Whom it is shown to."},
            {"name": "operations", "description": "How the server is."},
        ],
    )
    problems.install(app)
    documentation.install(app)
    app.include_router(ingest_routes(services))
    app.include_router(recommendation_routes(services))
    _operations(app, services)
    app.add_middleware(RequestMetrics, registry=services.registry)
    services.registry.register(StateCollector(services))
    return app


def _operations(app: FastAPI, services: Services) -> None:
    @app.get("/", include_in_schema=False)
    async def shop() -> FileResponse:
        return FileResponse(STATIC / "shop.html")

    @app.get("/healthz", tags=["operations"], response_model=StatusAnswer)
    async def healthz() -> Response:
        """Whether the process answers at all."""
        return Response(b'{"status":"alive"}', media_type="application/json")

    @app.get(
        "/readyz",
        tags=["operations"],
        response_model=StatusAnswer,
        responses={503: {"model": StatusAnswer}},
    )
    async def readyz() -> Response:
        """Whether requests can be answered: a bundle is loaded and every change is seen."""
        reasons = list(services.not_ready())
        answer = {
            "status": "not ready" if reasons else "ready",
            "reasons": reasons,
            "model_version": services.holder.current.bundle_version,
        }
        status = 503 if reasons else 200
        return Response(orjson.dumps(answer), status, media_type="application/json")

    @app.get("/metrics", tags=["operations"], response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(services.registry), media_type=CONTENT_TYPE_LATEST)
