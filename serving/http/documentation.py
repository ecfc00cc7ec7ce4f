"""The OpenAPI document: bodies that FastAPI does not read, and the problems of each route."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.http.body import MAX_RECORDS
from serving.http.models import EventBody, ItemBody, RecommendBody, UserBody
from serving.http.problems import MEDIA_TYPE, ProblemDocument

REF = "#/components/schemas/{model}"
BODIES: tuple[type[BaseModel], ...] = (EventBody, ItemBody, UserBody, RecommendBody)

_WHEN = {
    400: "The body is not JSON.",
    404: "There is no such thing.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "A field does not fit; `errors` names it.",
    500: "The server failed.",
    503: "Not now: the log or the online store fails, too many wait, or not ready yet. Try again.",
    504: "Accepted, but not applied in time.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what FastAPI's `responses` takes for these problems."""
    schema = {"$ref": REF.format(model=ProblemDocument.__name__)}
    return {
        status: {"description": _WHEN[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def answer(example: Any, media_type: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """Return what FastAPI's `responses` takes for an example of the answer."""
    return {200: {"content": {media_type: {"example": example}}}}


def body_of(
    model: type[BaseModel], example: dict[str, Any], *, many: bool = True
) -> dict[str, Any]:
    """Return what FastAPI's `openapi_extra` takes for a body of one `model`, or an array."""
    one: dict[str, Any] = {"$ref": REF.format(model=model.__name__)}
    schema = one
    examples: dict[str, Any] = {"one": {"value": example}}
    if many:
        several = {"type": "array", "items": one, "maxItems": MAX_RECORDS}
        schema = {"anyOf": [several, one]}
        examples = {"several": {"value": [example]}, **examples}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI) -> None:
    """Describe the bodies and the problem document in the app's OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            models: tuple[type[BaseModel], ...] = (*BODIES, ProblemDocument)
            _, definitions = models_json_schema(
                [(model, "validation") for model in models], ref_template=REF
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(definitions["$defs"])
            # FastAPI documents an error body of its own, which no route answers with.
            for path in document["paths"].values():
                for operation in path.values():
                    if operation["tags"] != ["operations"]:  # these ignore what they are sent
                        operation["responses"].setdefault("422", {})
                        _drop_default_error(operation["responses"])
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _drop_default_error(responses: dict[str, Any]) -> None:
    content = responses["422"].get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    if not content or schema.get("$ref", "").endswith("HTTPValidationError"):
        responses.update({"422": problems(422)[422]})
