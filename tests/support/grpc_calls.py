"""Calls of TensorFlow Serving's gRPC API, and a server to send them to."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.bundle import Bundle
from serving.grpc.server import grpc_server
from serving.item_rows import ItemRows
from serving.live_model import LiveModel
from serving.prediction.predictor import Predictor
from serving.settings import (
    BatchingSettings,
    GrpcSettings,
    ServingSettings,
    TensorFlowServingSettings,
)

SECONDS = 60.0


SIZES = GrpcSettings()


MAX_BYTES = TensorFlowServingSettings().max_message_bytes


VERSION = 1767323045 * 65536


Error = grpc.RpcError


def live_model(bundle: Bundle, max_rows: int) -> LiveModel:
    batching = BatchingSettings(max_rows=max_rows)
    return LiveModel.create(bundle, ItemRows(), ServingSettings(batching=batching))


class connected:  # noqa: N801 - a context manager
    """A channel to a server of its own."""

    def __init__(
        self,
        predictor: Predictor,
        max_bytes: int = MAX_BYTES,
        threads: int = SIZES.threads,
        queue: int = SIZES.queue,
    ) -> None:
        self._server = grpc_server(
            predictor, "127.0.0.1:0", threads=threads, queue=queue, max_message_bytes=max_bytes
        )

    def __enter__(self) -> grpc.Channel:
        port = self._server.__enter__()
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        return self._channel

    def __exit__(self, *error: Any) -> None:
        self._channel.close()
        self._server.__exit__(*error)


def request_of(inputs: Mapping[str, Any], signature: str = "", **spec: Any) -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = spec.get("name", "riverrun")
    request.model_spec.signature_name = signature
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    for name, value in inputs.items():
        tensor = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(tensor)
    return request


def history(*item_ids: str, rows: int = 1) -> dict[str, Any]:
    length = len(item_ids)
    return {
        "item_ids": np.array([item_ids] * rows, dtype=object).reshape(rows, length),
        "event_types": np.full((rows, length), "view", dtype=object),
        "timestamps": np.tile(np.arange(1, length + 1), (rows, 1)),
        "query_text": np.full(rows, "", dtype=object),
    }


def predicted(channel: grpc.Channel, request: PredictRequest) -> dict[str, Any]:
    answer = PredictionServiceStub(channel).Predict(request, timeout=SECONDS)
    assert answer.model_spec.version.value == VERSION
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


def refused(channel: grpc.Channel, request: PredictRequest) -> grpc.RpcError:
    with pytest.raises(Error) as caught:
        PredictionServiceStub(channel).Predict(request, timeout=SECONDS)
    return caught.value
