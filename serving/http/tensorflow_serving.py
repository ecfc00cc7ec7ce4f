"""TensorFlow Serving's REST API on the model that serves.

https://www.tensorflow.org/tfx/serving/api_rest

Errors are its `{"error": "..."}` with its status codes, not problem documents: its clients read
nothing else. The routes are left out of the OpenAPI document, which describes API v1 and its
problems; TensorFlow documents these, and a signature's arguments come from the bundle.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from google.protobuf.json_format import MessageToDict
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from serving.http.body import bounded_body, gunzipped
from serving.http.body_budget import BodyBudget
from serving.http.bounded_threads import BoundedThreads
from serving.http.problems import Problem
from serving.http.services import Services
from serving.http.tensorflow_json import error_body, read_body, write_body
from serving.live_model import LiveModel
from serving.prediction import messages
from serving.prediction.errors import Code, PredictionError, failure, invalid
from serving.prediction.predictor import ModelName, Predictor, predict, signature_of

MEDIA_TYPE = "application/json"

MAX_GUNZIPPED_BYTES = 8 * 2**20
"""A gzip body a thousandth as long can unpack to so much. To parse JSON holds Python's lock, and
takes a multiple of its size in memory."""
BODY_SECONDS = 60.0
"""How long a client may take over a body. What it has sent counts against the bodies of others."""

Route = Callable[[Request], Coroutine[Any, Any, Response]]


def tensorflow_serving_routes(services: Services) -> APIRouter:
    """Return the routes over `services`, which also answer unknown paths below /v1/models."""
    settings, http = services.serving.tensorflow_serving, services.http
    predictor = Predictor(services.holder, settings.model_name)
    threads = BoundedThreads(
        "predict", "calls of the model", http.predict_threads, http.predict_queue
    )
    # One of the largest alone takes gigabytes while it is parsed.
    budget = BodyBudget(settings.max_message_bytes)

    async def status(request: Request) -> Response:
        if ":" in request.url.path:  # an unknown verb, or one that GET does not have
            return await malformed(request)
        return _rendered(messages.model_status(predictor.status(_asked(request))))

    async def metadata(request: Request) -> Response:
        model = predictor.model(_asked(request))
        return JSONResponse(
            {
                "model_spec": _as_dict(messages.model_spec(settings.model_name, model)),
                "metadata": {messages.SIGNATURE_DEF: _as_dict(messages.signature_defs(model))},
            }
        )

    async def answer(request: Request) -> Response:
        model = predictor.model(_asked(request))
        with budget.body() as grown:
            sent = await _sent(request, settings.max_message_bytes, grown)
            return Response(await threads.run(_predicted, model, sent), media_type=MEDIA_TYPE)

    async def malformed(request: Request) -> Response:
        raise invalid(f"Malformed request: {request.method} {request.url.path}")

    router = APIRouter(prefix="/v1/models", include_in_schema=False)
    # A colon separates the verb, so that names cannot hold one.
    for model in ("/{name}", "/{name}/versions/{version}", "/{name}/labels/{label}"):
        router.add_api_route(f"{model}:predict", _answering(answer), methods=["POST"])
        router.add_api_route(f"{model}/metadata", _answering(metadata), methods=["GET"])
        router.add_api_route(model, _answering(status), methods=["GET"])
    every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    for rest in ("", "/{rest:path}"):
        router.add_api_route(rest, _answering(malformed), methods=every)
    return router


def _answering(route: Route) -> Route:
    """Return `route`, so that it answers errors as TensorFlow Serving does."""

    async def answered(request: Request) -> Response:
        try:
            return await route(request)
        except ClientDisconnect:
            raise  # the client has hung up
        except PredictionError as error:
            return _refused(error.code.value, error.message)
        except Problem as problem:
            return _refused(problem.status, problem.detail, problem.headers)
        except Exception as error:  # noqa: BLE001 - its clients read this API's errors alone
            unexpected = failure(request.url.path, error)
            return _refused(unexpected.code.value, unexpected.message)

    return answered


def _refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(error_body(message), status, headers, MEDIA_TYPE)


def _asked(request: Request) -> ModelName:
    path = request.path_params
    version = path.get("version")
    if version is None:
        return ModelName(path["name"], label=path.get("label"))
    # 19 digits hold every int64; int() takes time that grows with more of them.
    if not (version.isascii() and version.isdigit() and len(version) <= 19):
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return ModelName(path["name"], int(version))


@dataclass(frozen=True, slots=True, eq=False)
class _Sent:
    """A body as it was sent. encoding: its Content-Encoding, "" where it has none."""

    body: bytes
    encoding: str
    max_bytes: int

    def content(self) -> bytes:
        """Return the JSON. Raises `PredictionError` where it cannot be unpacked or is too large."""
        if not self._is_gzip:
            return self.body
        try:
            content = gunzipped(self.body, self._most)
        except ValueError as error:
            raise invalid(
                f"the request must be gzip, as its Content-Encoding says: {error}."
            ) from None
        if content is None:
            raise _too_large(self._most, " once it is decompressed")
        return content

    @property
    def size(self) -> int:
        """How many bytes the body has, or would have once it is decompressed, if that is more."""
        if not self._is_gzip:
            return len(self.body)
        # RFC 1952: what gzip made is told by its last four bytes. If they lie, it is never parsed.
        content = int.from_bytes(self.body[-4:], "little")
        return max(len(self.body), min(content, self._most))

    @property
    def _most(self) -> int:
        # More is refused as it is decompressed; to wait for others would not help.
        return min(self.max_bytes, MAX_GUNZIPPED_BYTES)

    @property
    def _is_gzip(self) -> bool:
        # As in TensorFlow Serving: any encoding that names gzip is gzip, and no other is known.
        return "gzip" in self.encoding.lower()


async def _sent(request: Request, max_bytes: int, grown: Callable[[int], None]) -> _Sent:
    # Whatever its media type: TensorFlow Serving's own examples send JSON as curl's form.
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await bounded_body(request, max_bytes, grown)
    except TimeoutError:
        message = f"The body must be sent within {BODY_SECONDS:g} s."
        raise Problem(408, message, headers={"Connection": "close"}) from None
    if body is None:
        raise _too_large(max_bytes)
    encoding = ", ".join(request.headers.getlist("content-encoding"))
    sent = _Sent(body, encoding, max_bytes)
    grown(sent.size)
    return sent


def _too_large(max_bytes: int, when: str = "") -> PredictionError:
    return PredictionError(
        Code.RESOURCE_EXHAUSTED, f"the request must have at most {max_bytes} bytes{when}."
    )


def _predicted(model: LiveModel, sent: _Sent) -> bytes:
    body = read_body(sent.content())
    signature = signature_of(model, body.signature_name)
    outputs = predict(signature, body.arrays(signature.inputs))
    return write_body(outputs, by_row=body.by_row)


def _rendered(message: Any) -> Response:
    return JSONResponse(_as_dict(message))


def _as_dict(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document
