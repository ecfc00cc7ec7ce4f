"""Errors as RFC 9457 problem documents that name the field and the value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.requests import InvalidArgumentError, UnknownItemError

MEDIA_TYPE = "application/problem+json"
SHOWN_VALUE = 200
"""Characters of a received value that an answer repeats."""


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    message: str
    value: Any = None


class ProblemDocument(BaseModel):
    """RFC 9457; `errors` says what is wrong, field by field."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


@dataclass(frozen=True)
class Problem(Exception):  # noqa: N818 - the term of RFC 9457
    """Ends a request with a problem document."""

    status: int
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] | None = None


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


def field_errors(errors: Sequence[Any]) -> list[FieldError]:
    """Return pydantic's errors by field, with the values received."""
    return [
        FieldError(
            field=".".join(str(part) for part in error["loc"]) or "body",
            message=error["msg"].removeprefix("Value error, "),
            value=shown(error.get("input")),
        )
        for error in errors
    ]


def invalid(error: ValidationError) -> Problem:
    """Return the problem of a body that does not fit its model."""
    return _unprocessable(field_errors(error.errors(include_url=False, include_context=False)))


def shown(value: Any) -> Any:
    """Return a value as it may be repeated in an answer: short, and always encodable."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, int) or abs(value) < 2**53 else str(value)[:32]
    text = value if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_VALUE else text[:SHOWN_VALUE] + "..."


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""
    logger = structlog.get_logger(__name__)

    @app.exception_handler(Problem)
    async def _problem(_: Request, error: Problem) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def _parameters(_: Request, error: RequestValidationError) -> Response:
        errors = field_errors(error.errors())
        for each in errors:
            each.field = each.field.removeprefix("query.").removeprefix("path.")
        return problem_response(_unprocessable(errors))

    @app.exception_handler(InvalidArgumentError)
    async def _argument(_: Request, error: InvalidArgumentError) -> Response:
        field = FieldError(field=error.argument, message=error.reason, value=shown(error.received))
        return problem_response(_unprocessable([field]))

    @app.exception_handler(UnknownItemError)
    async def _unknown_item(_: Request, error: UnknownItemError) -> Response:
        field = FieldError(
            field="item_id", message="must name an item.", value=shown(error.item_id)
        )
        return problem_response(Problem(404, str(shown(str(error))), [field]))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        path = shown(request.url.path)
        detail = {
            404: f"There is nothing at {path}.",
            405: f"{request.method} is not allowed at {path}.",
        }.get(error.status_code, str(error.detail))
        return problem_response(Problem(error.status_code, detail, headers=error.headers))

    @app.exception_handler(Exception)
    async def _internal(request: Request, error: Exception) -> Response:
        logger.error("request_failed", path=request.url.path, exc_info=error)
        return problem_response(Problem(500, "The server failed; its log says why."))


def _unprocessable(errors: Sequence[FieldError]) -> Problem:
    first = errors[0]
    received = orjson.dumps(first.value).decode()
    return Problem(422, f"`{first.field}`: {first.message} Received: {received}", errors)
