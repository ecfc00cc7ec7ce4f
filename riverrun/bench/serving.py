"""Latency of TensorFlow Serving's `Predict`, over gRPC and REST, from threads of this process."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from feature_repo.history import UserHistory
from riverrun.errors import UserError
from serving.settings import TensorFlowServingSettings
from serving.signatures import ENCODE_QUERY, RECOMMEND

MODEL_NAME = TensorFlowServingSettings().model_name
METHOD = "/tensorflow.serving.PredictionService/Predict"
PATH = f"/v1/models/{MODEL_NAME}:predict"
TIMEOUT_SECONDS = 30.0

Send = Callable[[bytes], bool]


class Transport(Enum):
    """How a call travels."""

    GRPC = "gRPC"
    REST = "REST"


class Question(Enum):
    """What a call asks for; the value is the signature."""

    QUERY = ENCODE_QUERY
    TOP_K = RECOMMEND


@dataclass(frozen=True, slots=True)
class CallLoad:
    """Callers that each wait for their answer; a rate over all of them, where 0 is unlimited."""

    callers: int
    rate: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """Milliseconds from the moment at which a call was due, so that late starts are included."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def request_bodies(
    histories: Sequence[UserHistory], question: Question, transport: Transport
) -> list[bytes]:
    """Return one request for each history."""
    encode = _message if transport is Transport.GRPC else _json
    return [encode(_columns(history), question.value) for history in histories]


@contextmanager
def sender(address: str, transport: Transport) -> Iterator[Send]:
    """Give a function that sends a request and returns whether it was answered.

    address: "HOST:PORT" of this transport. Every caller has a connection of its own.
    """
    if transport is Transport.GRPC:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            yield partial(_send_message, channel.unary_unary(METHOD))
    else:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        try:
            yield partial(_send_json, connection)
        finally:
            connection.close()


def measure_calls(
    address: str, transport: Transport, bodies: Sequence[bytes], load: CallLoad, seconds: float
) -> CallResult:
    """Send `bodies` in turn for `seconds`, by as many threads as there are callers."""
    milliseconds: list[list[float]] = [[] for _ in range(load.callers)]
    failed = [0] * load.callers
    ready = threading.Barrier(load.callers + 1)

    def caller(number: int) -> None:
        pause = load.callers / load.rate if load.rate else 0.0
        with sender(address, transport) as send:
            send(bodies[number % len(bodies)])  # connects
            ready.wait()
            start = time.perf_counter()
            # The callers of a rate take turns.
            due = start + pause * number / load.callers
            place = number
            while due < start + seconds:
                time.sleep(max(0.0, due - time.perf_counter()))
                if send(bodies[place % len(bodies)]):
                    milliseconds[number].append((time.perf_counter() - due) * 1e3)
                else:
                    failed[number] += 1
                place += load.callers
                due = due + pause if pause else time.perf_counter()

    threads = [
        threading.Thread(target=caller, args=(number,), daemon=True)
        for number in range(load.callers)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    # Longer than `seconds` where the callers could not keep up with the rate.
    elapsed = time.perf_counter() - start
    answered = np.concatenate(milliseconds)
    if not len(answered):
        raise UserError(f"no call over {transport.value} was answered: {sum(failed)} failed.")
    p50, p99 = np.quantile(answered, [0.5, 0.99])
    return CallResult(len(answered) / elapsed, float(p50), float(p99), sum(failed))


def host_and_port(url: str, port: int) -> str:
    """Return the address of another port of the server at `url`."""
    return f"{urlsplit(url).hostname}:{port}"


def _columns(history: UserHistory) -> dict[str, list[Any]]:
    return {
        "item_ids": [[event.item_id for event in history.events]],
        "event_types": [[event.event_type for event in history.events]],
        "timestamps": [[event.timestamp for event in history.events]],
        "query_text": [""],
    }


def _message(columns: dict[str, list[Any]], signature: str) -> bytes:
    request = PredictRequest()
    request.model_spec.name = MODEL_NAME
    request.model_spec.signature_name = signature
    for name, column in columns.items():
        dtype = tf.int64 if name == "timestamps" else tf.string
        request.inputs[name].CopyFrom(tf.make_tensor_proto(column, dtype))
    message: bytes = request.SerializeToString()
    return message


def _json(columns: dict[str, list[Any]], signature: str) -> bytes:
    return json.dumps({"signature_name": signature, "inputs": columns}).encode()


def _send_message(call: Any, body: bytes) -> bool:
    try:
        call(body, timeout=TIMEOUT_SECONDS)
    except grpc.RpcError:
        return False
    return True


def _send_json(connection: http.client.HTTPConnection, body: bytes) -> bool:
    try:
        connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return answer.status == http.client.OK
