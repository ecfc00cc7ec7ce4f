"""Reading request bodies: bounded, JSON only, strictly typed."""

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from feature_repo.received import SHOWN
from serving.http.problems import FieldError, Problem, field_errors, shown, unprocessable

MAX_BYTES = 8 * 2**20
MAX_RECORDS = 1000
THREADED_BYTES = 64 * 2**10
"""A larger body is parsed in a thread, as the event loop could serve no other request meanwhile."""

_GZIP = 16 + zlib.MAX_WBITS
"""What zlib calls DEFLATE in gzip's format, RFC 1952."""
_LONG_NUMBER = re.compile(rb"[0-9]{19}")

ModelT = TypeVar("ModelT", bound=BaseModel)
ResultT = TypeVar("ResultT")


async def read_body(request: Request) -> bytes:
    """Return the body. Raises 415 for another type than JSON and 413 above 8 MiB."""
    media_type = request.headers.get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise _unsupported("Content-Type", "must be application/json.", media_type)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise _unsupported("Content-Encoding", "must be absent: send it as it is.", encoding)
    body = await bounded_body(request, MAX_BYTES)
    if body is None:
        # The real length is not known, as the rest of the body was not read.
        declared = request.headers.get("content-length")
        message = f"must have at most {MAX_BYTES} bytes."
        large = FieldError(field="body", message=message, value=shown(declared))
        raise Problem(413, f"The body {message}", [large])
    return body


async def bounded_body(
    request: Request, max_bytes: int, grown: Callable[[int], None] = lambda size: None
) -> bytes | None:
    """Return the body, or None where it has more than `max_bytes`; the rest is then unread.

    grown: is told the size so far, before another piece is kept.
    """
    chunks: list[bytes] = []
    size = 0
    # Counted as it arrives: the declared length may be missing or false.
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            return None
        grown(size)
        chunks.append(chunk)
    return b"".join(chunks)


def gunzipped(body: bytes, max_bytes: int) -> bytes | None:
    """Return `body` decompressed, or None where that has more than `max_bytes`.

    Raises `ValueError` where `body` is not gzip, is cut off, or has something else behind it.
    """
    reader = zlib.decompressobj(_GZIP)
    try:
        content = reader.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(content) > max_bytes:
        return None
    if not reader.eof:
        raise ValueError("it is cut off")
    # A second gzip member would be valid too, but TensorFlow Serving does not read it either.
    if reader.unused_data:
        raise ValueError("something follows its end")
    return content


async def reading(body: bytes, read: Callable[[bytes], ResultT]) -> ResultT:
    """Return `read(body)`: called here for a small body, and in a thread for a large one."""
    return read(body) if len(body) <= THREADED_BYTES else await run_in_threadpool(read, body)


def refuse_query(request: Request) -> None:
    """Raise 422 where a request has query parameters and its route has none."""
    if request.scope["query_string"]:
        name, value = next(iter(request.query_params.multi_items()), ("query", ""))
        message = "is no parameter of this route."
        raise unprocessable([FieldError(field=shown(name), message=message, value=shown(value))])


async def refuse_repeated(request: Request) -> None:
    """Raise 422 where a request has a query parameter more than once."""
    if not request.scope["query_string"]:
        return
    parameters = request.query_params
    if len(parameters) < len(parameters.multi_items()):
        names = Counter(name for name, _ in parameters.multi_items())
        name = names.most_common(1)[0][0]
        value = shown(", ".join(parameters.getlist(name)))
        message = "must be given only once."
        raise unprocessable([FieldError(field=shown(name), message=message, value=value)])


def parse(model: type[ModelT], body: bytes) -> ModelT:
    """Return the body as a `model`, without converting types. Raises 422; 400 if it is not JSON."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise _unreadable(body, f"is not JSON: {first['ctx']['error']}.") from None
        raise unprocessable(field_errors(error)) from None


def parse_records(body: bytes) -> list[Any]:
    """Return the records of a body: the elements of an array, or one object as the only record."""
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise _unreadable(body, f"is not JSON: {error}.") from None
    if _LONG_NUMBER.search(body):
        # orjson makes a float of an integer beyond 64 bits, json keeps it. Records nested too
        # deeply for pydantic are refused one by one, so json has to read at least that deep.
        try:
            document = json.loads(body)
        except RecursionError:
            raise _unreadable(body, "must not be nested so deeply.") from None
    records = document if isinstance(document, list) else [document]
    if len(records) > MAX_RECORDS:
        many = FieldError(
            field="body", message=f"must hold at most {MAX_RECORDS} records.", value=len(records)
        )
        raise unprocessable([many])
    return records


def validate_record(model: type[ModelT], record: Any, max_bytes: int) -> ModelT | list[FieldError]:
    """Return one record as a `model`, without converting types, or what is wrong with it."""
    try:
        # Written as JSON again: only there does strict mean JSON's types, and not Python's.
        document = _json(record)
    except ValueError:  # orjson reads what is nested too deeply to be written
        return [FieldError(field="body", message="must not be nested so deeply.")]
    if len(document) > max_bytes:
        message = f"must have at most {max_bytes} bytes."
        return [FieldError(field="body", message=message, value=len(document))]
    try:
        return model.model_validate_json(document, strict=True)
    except ValidationError as error:
        return field_errors(error)


def _json(record: Any) -> bytes:
    try:
        return orjson.dumps(record)
    except TypeError:  # an integer beyond 64 bits, or nested deeply
        return to_json(record)


def _unreadable(body: bytes, message: str) -> Problem:
    begins = body[: 4 * SHOWN].decode("utf-8", "replace")
    error = FieldError(field="body", message=message, value=shown(begins))
    return Problem(400, f"The body {message}", [error])


def _unsupported(field: str, message: str, received: str) -> Problem:
    value = shown(received)
    error = FieldError(field=field, message=message, value=value)
    return Problem(415, f"`{field}` {message} Received: {value!r}.", [error])
