"""Reading request bodies: bounded, JSON only, strictly typed."""

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from serving.http.problems import FieldError, Problem, invalid

MAX_BYTES = 8 * 2**20
MAX_RECORDS = 1000

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """Return the body. Raises 415 for another type than JSON and 413 above 8 MiB."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, f"The body must be application/json. Received: {media_type!r}.")
    chunks: list[bytes] = []
    size = 0
    # Counted as it comes: a length need not be declared, nor be true.
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BYTES:
            raise Problem(413, f"The body must have at most {MAX_BYTES} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """Return the body as a `model`, without converting types. Raises 422, or 400 if no JSON."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Problem(400, f"The body is not JSON: {error.errors()[0]['msg']}.") from None
        raise invalid(error) from None


def parse_records(body: bytes) -> list[Any]:
    """Return the JSON values of an array, or of one object, one after the other."""
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise Problem(400, f"The body is not JSON: {error}.") from None
    records = document if isinstance(document, list) else [document]
    if len(records) > MAX_RECORDS:
        many = FieldError(
            field="body", message=f"must hold at most {MAX_RECORDS} records.", value=len(records)
        )
        raise Problem(422, f"`body` {many.message} Received: {len(records)}.", [many])
    return records


def validate_record(model: type[ModelT], record: Any) -> ModelT:
    """Return one record as a `model`, without converting types. Raises `ValidationError`."""
    return model.model_validate_json(orjson.dumps(record), strict=True)
