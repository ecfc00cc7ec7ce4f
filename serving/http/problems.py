"""Errors as RFC 9457 problem documents that name the field and the value."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from math import isfinite
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from feature_repo.event_log import EventLogError
from feature_repo.received import shortened
from serving.filters import FilterError
from serving.requests import FeaturesUnavailableError, UnknownItemError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 100
"""Errors of one request, or one record, that an answer lists."""

_EXAMPLE: dict[str, Any] = {
    "type": "about:blank",
    "title": HTTPStatus(422).phrase,
    "status": 422,
    "detail": "`limit`: Input should be greater than or equal to 1. Received: 0",
    "errors": [
        {
            "field": "limit",
            "message": "Input should be greater than or equal to 1.",
            "value": 0,
        }
    ],
}


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    message: str
    value: Any = None


class ProblemDocument(BaseModel):
    """RFC 9457; `errors` says what is wrong, field by field."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers


def problem_response(problem: Problem) -> Response:
    """Return the document as a response."""
    document = ProblemDocument(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        errors=list(problem.errors),
    )
    return Response(
        orjson.dumps(document.model_dump()),
        problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers or {}),
    )


def field_errors(error: ValidationError | RequestValidationError) -> list[FieldError]:
    """Return pydantic's errors by field, with the values received."""
    if isinstance(error, ValidationError):
        found: Sequence[Any] = error.errors(include_url=False, include_context=False)
    else:
        found = error.errors()
    return [
        FieldError(
            field=_encodable(".".join(str(part) for part in each["loc"])) or "body",
            message=_sentence(each["msg"]),
            value=shown(each.get("input")),
        )
        for each in found[:MAX_ERRORS]
    ]


def future_error(
    field: str, timestamp: datetime, now: datetime, max_future: timedelta
) -> FieldError | None:
    """Return what is wrong with a time that is further ahead of `now` than `max_future`."""
    if timestamp <= now + max_future:
        return None
    message = f"must be at most {max_future} ahead of the server's clock."
    return FieldError(field=field, message=message, value=timestamp.isoformat())


def unprocessable(errors: Sequence[FieldError]) -> Problem:
    """Return the problem of a request that can be read, but has wrong values: 422."""
    first = errors[0]
    received = orjson.dumps(first.value).decode()
    return Problem(422, f"`{first.field}`: {first.message} Received: {received}", errors)


def busy(reason: str) -> Problem:
    """Return the problem of a request that may succeed if it is sent again a second later: 503."""
    return Problem(503, f"{reason} Try again.", headers={"Retry-After": "1"})


def shown(value: Any) -> Any:
    """Return a value as it may be repeated in an answer: short, and always encodable."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else _encodable(str(value))
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    return _encodable(value if isinstance(value, str) else str(value))


def _methods_at(request: Request) -> list[str]:
    # Only files are mounted. The routes would take the path below the mount for one of theirs.
    if "app_root_path" in request.scope:
        return ["GET", "HEAD"]
    # A path can have several routes, and each, a router too, can only be asked for one method.
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        for scope in [{**request.scope, "method": method}]
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    ]


def _encodable(text: str) -> str:
    return shortened(text).encode("utf-8", "replace").decode()


def _sentence(message: str) -> str:
    # The value has a field of its own, so the message need not repeat it.
    message = message.removeprefix("Value error, ").partition(" Received: ")[0]
    return message if message.endswith(".") else f"{message}."


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    logger = structlog.get_logger(__name__)

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def _parameters(_: Request, error: RequestValidationError) -> Response:
        errors = field_errors(error)
        for each in errors:
            each.field = each.field.removeprefix("query.").removeprefix("path.")
        return problem_response(unprocessable(errors))

    @app.exception_handler(FilterError)
    async def _filter(_: Request, error: FilterError) -> Response:
        field = FieldError(field="filter", message=error.reason, value=shown(error.received))
        return problem_response(unprocessable([field]))

    @app.exception_handler(UnknownItemError)
    async def _unknown_item(_: Request, error: UnknownItemError) -> Response:
        field = FieldError(
            field="item_id", message="must name an item.", value=shown(error.item_id)
        )
        return problem_response(Problem(404, shown(str(error)), [field]))

    @app.exception_handler(EventLogError)
    async def _log(request: Request, error: EventLogError) -> Response:
        logger.error("append_failed", path=request.url.path, reason=str(error))
        return problem_response(
            Problem(
                503,
                "The log cannot be written now. Some of what was sent may be accepted: send it "
                "again. An event that has an event_id counts once.",
            )
        )

    @app.exception_handler(FeaturesUnavailableError)
    async def _features(_: Request, __: FeaturesUnavailableError) -> Response:
        return problem_response(busy("The online store cannot be read now."))

    @app.exception_handler(ClientDisconnect)
    async def _disconnect(_: Request, __: ClientDisconnect) -> Response:
        # The client has hung up and reads nothing; but otherwise this would count as a 500.
        return problem_response(Problem(400, "The body ended too early."))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        path = shown(request.url.path)
        problem = Problem(error.status_code, str(error.detail), headers=error.headers)
        if error.status_code == 404:
            field = FieldError(field="path", message="must be one of this API.", value=path)
            problem = Problem(404, f"There is nothing at {path}.", [field])
        elif error.status_code == 405:
            allowed, method = ", ".join(_methods_at(request)), shown(request.method)
            message = f"must be one of {allowed}."
            field = FieldError(field="method", message=message, value=method)
            detail = f"{method} is not allowed at {path}."
            problem = Problem(405, detail, [field], {"Allow": allowed})
        return problem_response(problem)

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> Response:
        logger.error("request_failed", path=request.url.path, exc_info=error)
        return problem_response(Problem(500, "The server failed; its log says why."))
