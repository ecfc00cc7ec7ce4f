"""TensorFlow Serving's gRPC API, called with its published stubs."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.bundle import Bundle
from serving.bundle_loading import load_bundle
from serving.grpc import services, tensors
from serving.grpc.server import grpc_server
from serving.item_rows import ItemRows
from serving.live_model import LiveModel, ModelHolder
from serving.prediction.predictor import Predictor, version_number
from tests.support.garbage import without_garbage_collection
from tests.support.grpc_calls import (
    MAX_BYTES,
    SECONDS,
    VERSION,
    Error,
    connected,
    history,
    live_model,
    predicted,
    refused,
    request_of,
)
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.waiting import wait_until


def test_every_signature_answers_a_batch_as_the_saved_model_does(
    channel: grpc.Channel, bundle: Bundle
) -> None:
    sizes = {0: 3, 1: 5}
    random = np.random.default_rng(7)
    for name, function in bundle.signatures.items():
        inputs: dict[str, Any] = {}
        for key, spec in function.structured_input_signature[1].items():
            shape = [size or sizes[axis] for axis, size in enumerate(spec.shape)]
            if spec.dtype == tf.string:
                inputs[key] = random.choice(np.array(["i1", "i7", "view", ""], object), shape)
            elif spec.dtype == tf.int64:
                inputs[key] = random.integers(1, 100, shape)
            else:
                inputs[key] = random.normal(size=shape).astype(np.float32)
        received = predicted(channel, request_of(inputs, name))
        expected = function(**{key: tf.constant(value) for key, value in inputs.items()})
        assert received.keys() == expected.keys()
        for key, value in expected.items():
            if value.dtype == tf.string:
                np.testing.assert_array_equal(received[key], value.numpy())
            else:
                np.testing.assert_allclose(received[key], value.numpy(), atol=1e-5)


def test_calls_without_a_deadline_wait_for_each_other(channel: grpc.Channel) -> None:
    stub = PredictionServiceStub(channel)

    def ask(_: int) -> tuple[int, ...]:
        outputs = stub.Predict(request_of(history("i1", "i6"))).outputs
        return tuple(tf.make_ndarray(outputs["item_ids"]).shape)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(64))) == {(1, 60)}


def test_a_short_value_may_stand_for_all(channel: grpc.Channel) -> None:
    rows = 1024
    one_value_each = {
        "item_ids": tf.make_tensor_proto("i1", shape=[rows, 1]),
        "event_types": tf.make_tensor_proto("view", shape=[rows, 1]),
        "timestamps": tf.make_tensor_proto(np.int64(1), shape=[rows, 1]),
        "query_text": tf.make_tensor_proto("", shape=[rows]),
    }
    assert len(one_value_each["item_ids"].string_val) == 1
    outputs = predicted(channel, request_of(one_value_each, "encode_query"))
    in_full = predicted(channel, request_of(history("i1", rows=rows), "encode_query"))
    np.testing.assert_array_equal(outputs["embeddings"], in_full["embeddings"])


def test_a_history_is_strings_in_and_ranked_ids_out(channel: grpc.Channel) -> None:
    outputs = predicted(channel, request_of(history("i1", "i6", rows=2)))
    assert outputs["item_ids"].shape == outputs["scores"].shape == (2, 60)
    assert {b"i1", b"i6"} <= set(outputs["item_ids"][0][:15])
    assert (np.diff(outputs["scores"]) <= 0).all()
    only = request_of(history("i1"))
    only.output_filter.append("scores")
    assert predicted(channel, only).keys() == {"scores"}


def test_status_and_metadata(channel: grpc.Channel) -> None:
    status = GetModelStatusRequest()
    status.model_spec.name = "riverrun"
    (version,) = ModelServiceStub(channel).GetModelStatus(status).model_version_status
    assert (version.version, version.state, version.status.error_code) == (VERSION, 30, 0)
    metadata = GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "riverrun"
    answer = PredictionServiceStub(channel).GetModelMetadata(metadata)
    signatures = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    prices = signatures.signature_def["encode_candidate"].inputs["price"]
    assert prices.dtype == tf.float32.as_datatype_enum
    assert [axis.size for axis in prices.tensor_shape.dim] == [-1]
    assert signatures.signature_def["serving_default"].outputs.keys() == {"item_ids", "scores"}
    for fields in ([], ["colour"]):
        metadata = GetModelMetadataRequest(metadata_field=fields)
        metadata.model_spec.name = "riverrun"
        with pytest.raises(Error, match="INVALID_ARGUMENT"):
            PredictionServiceStub(channel).GetModelMetadata(metadata)


TOO_FEW = tf.make_tensor_proto("", shape=[1000, 1000, 1000])
LONG = tf.make_tensor_proto("x" * 8192, shape=[1024, 128])
NO_RANK = tf.make_tensor_proto([""])
NO_RANK.tensor_shape.unknown_rank = True
CONTRADICTION = tf.make_tensor_proto([1, 2, 3])
CONTRADICTION.tensor_shape.dim[0].size = 4
VARIANT = TensorProto(dtype=tf.variant.as_datatype_enum)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"timestamps": [[1.0, 2.0]]}, "`timestamps` must be int64. Received: float32."),
        ({"item_ids": [[1, 2]]}, "`item_ids` must be string. Received: int32."),
        ({"item_ids": ["i1", "i6"]}, "`item_ids` must have shape [?, ?]. Received: [2]."),
        ({"item_ids": [["i1"]]}, "along axis 1"),
        ({"query_text": ["", ""]}, "along axis 0"),
        ({"item_ids": np.empty((0, 2), object)}, "must have at least one row"),
        ({"colour": ["red"]}, "inputs must be"),
        ({"query_text": TOO_FEW}, "must have a value for every place of its shape"),
        (
            {"item_ids": LONG},
            "`item_ids` must have a value for every place of its shape [1024, 128]",
        ),
        ({"colour": TOO_FEW}, "inputs must be"),
        ({"query_text": NO_RANK}, "must have a shape that is known"),
        ({"query_text": CONTRADICTION}, "`query_text` must be a tensor"),
        (
            {"query_text": VARIANT},
            "`query_text` must be of a dtype that has arrays. Received: DT_VARIANT.",
        ),
        (history("i1", rows=1025), "at most 1024 rows. Received: 1025."),
        (history(*["i1"] * 129, rows=1009), "at most 1008 rows of length 129. Received: 1009."),
        (history(*["i1"] * 4097), "at most 0 rows of length 4097. Received: 1."),
    ],
)
def test_inputs_that_do_not_fit_are_named(
    channel: grpc.Channel, changed: dict[str, Any], message: str
) -> None:
    error = refused(channel, request_of(history("i1", "i6") | changed))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in error.details()


def test_the_inputs_of_a_refused_call_are_freed_once_it_is_answered(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []

    def array_of(name: str, tensor: Any) -> Any:
        array = tensors.array_of(name, tensor)
        made.append(weakref.ref(array))
        return array

    monkeypatch.setattr(services, "array_of", array_of)
    with without_garbage_collection():
        for _ in range(3):
            refused(channel, request_of(history("i1", "i6") | {"query_text": ["", ""]}))
        assert len(made) == 12
        wait_until(lambda: all(array() is None for array in made), seconds=SECONDS)


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"signature": "dream"}, "FAILED_PRECONDITION", 'signature key "dream" not found.'),
        ({"version": 7}, "NOT_FOUND", "Specific(riverrun, 7)"),
        ({"name": "other"}, "NOT_FOUND", "Latest(other)"),
        ({"name": ""}, "INVALID_ARGUMENT", "Missing ModelSpec.name"),
        ({"label": "canary"}, "INVALID_ARGUMENT", "label: canary"),
    ],
)
def test_a_model_that_does_not_serve_is_named(
    channel: grpc.Channel, spec: dict[str, Any], code: str, message: str
) -> None:
    error = refused(channel, request_of(history("i1"), **spec))
    assert error.code() == grpc.StatusCode[code]
    assert message in error.details()


def test_version_and_label_name_what_serves(channel: grpc.Channel) -> None:
    for spec in ({"version": VERSION}, {"label": "stable"}):
        assert predicted(channel, request_of(history("i1"), **spec))


def test_what_is_not_offered_says_so(channel: grpc.Channel) -> None:
    with pytest.raises(Error) as caught:
        PredictionServiceStub(channel).Classify(ClassificationRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_new_model_answers_between_two_calls(tmp_path: Path) -> None:
    models = [
        LiveModel.create(load_bundle(build_tiny_bundle(tmp_path, seed=seed)), ItemRows())
        for seed in (0, 1)
    ]
    holder = ModelHolder(models[0])
    with connected(Predictor(holder, "riverrun")) as channel:
        stub = PredictionServiceStub(channel)
        for model in models:
            holder.swap(model)
            answer = stub.Predict(request_of(history("i1")), timeout=SECONDS)
            assert answer.model_spec.version.value == version_number(model.bundle_version)


def test_a_port_that_is_taken_is_named(bundle: Bundle) -> None:
    predictor = Predictor(ModelHolder(live_model(bundle, 1)), "riverrun")
    with grpc_server(
        predictor, "127.0.0.1:0", threads=1, queue=0, max_message_bytes=MAX_BYTES
    ) as port:
        again = grpc_server(
            predictor, f"127.0.0.1:{port}", threads=1, queue=0, max_message_bytes=MAX_BYTES
        )
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            again.__enter__()


def test_a_failure_is_internal_and_the_next_call_is_answered(bundle: Bundle) -> None:
    holder = ModelHolder(live_model(bundle, 64))
    signature = holder.current.signatures["encode_text"]
    real = signature._function
    failing = [True]

    def sometimes(**inputs: Any) -> Any:
        if failing:
            raise RuntimeError("the model is broken")
        return real(**inputs)

    signature._function = sometimes
    with connected(Predictor(holder, "riverrun")) as channel:
        request = request_of({"texts": ["x"]}, "encode_text")
        error = refused(channel, request)
        assert error.code() == grpc.StatusCode.INTERNAL
        assert error.details() == "The server failed; its log says why."
        failing.clear()
        assert predicted(channel, request)
