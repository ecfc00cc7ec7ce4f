"""Large, many and slow calls of TensorFlow Serving's gRPC API."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.bundle import Bundle
from serving.live_model import LiveModel, ModelHolder
from serving.prediction.predictor import ModelName, Predictor
from tests.support.grpc_calls import (
    SECONDS,
    Error,
    connected,
    history,
    live_model,
    predicted,
    refused,
    request_of,
)


def test_a_request_of_64_mb(channel: grpc.Channel) -> None:
    request = request_of({"texts": np.full(1024, "x" * 2**16, dtype=object)}, "encode_text")
    assert request.ByteSize() >= 64 * 2**20
    embeddings = predicted(channel, request)["embeddings"]
    assert embeddings.shape == (1024, 384)
    assert (embeddings == embeddings[0]).all()


def test_a_request_that_is_too_large_is_refused(bundle: Bundle) -> None:
    predictor = Predictor(ModelHolder(live_model(bundle, 1)), "riverrun")
    with connected(predictor, max_bytes=2**20) as channel:
        error = refused(channel, request_of({"texts": ["x" * 2**21]}, "encode_text"))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert predicted(channel, request_of({"texts": ["x"]}, "encode_text"))


def test_64_callers_at_once_get_their_own_answers(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [history(*(f"i{n}" for n in range(k, k + 1 + k % 9))) for k in range(48)]
    alone = [predicted(channel, request_of(each, "encode_query")) for each in histories]
    all_there, model_of = threading.Barrier(64), Predictor.model

    def together_with_the_others(self: Predictor, asked: ModelName) -> LiveModel:
        """Let no call go on before the server has 64 in hand."""
        all_there.wait(SECONDS)
        return model_of(self, asked)

    monkeypatch.setattr(Predictor, "model", together_with_the_others)

    def call(number: int) -> None:
        place = number % len(histories)
        together = predicted(channel, request_of(histories[place], "encode_query"))
        np.testing.assert_allclose(together["embeddings"], alone[place]["embeddings"], atol=1e-5)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(call, range(64 * 10)))


def test_a_call_that_would_wait_behind_too_many_is_refused(bundle: Bundle) -> None:
    holder = ModelHolder(live_model(bundle, 64))
    signature = holder.current.signatures["encode_text"]
    go_on = threading.Event()
    real = signature._function

    def slow(**inputs: Any) -> Any:
        assert go_on.wait(SECONDS)
        return real(**inputs)

    signature._function = slow
    with connected(Predictor(holder, "riverrun"), threads=1, queue=2) as channel:
        stub = PredictionServiceStub(channel)
        request = request_of({"texts": ["x"]}, "encode_text")
        asked = [stub.Predict.future(request, timeout=SECONDS) for _ in range(8)]
        while sum(call.done() for call in asked) < 5:
            time.sleep(0.01)
        go_on.set()
        codes = Counter(call.code() for call in asked)
        assert codes == {grpc.StatusCode.OK: 3, grpc.StatusCode.RESOURCE_EXHAUSTED: 5}
        assert predicted(channel, request)


def test_a_deadline_that_passes_ends_the_call_and_nothing_else(bundle: Bundle) -> None:
    holder = ModelHolder(live_model(bundle, 64))
    signature = holder.current.signatures["encode_text"]
    entered, go_on = threading.Event(), threading.Event()
    real = signature._function
    seen: list[int] = []

    def slow(**inputs: Any) -> Any:
        seen.append(len(inputs["texts"]))
        entered.set()
        assert go_on.wait(SECONDS)
        return real(**inputs)

    signature._function = slow
    with connected(Predictor(holder, "riverrun")) as channel:
        stub = PredictionServiceStub(channel)
        request = request_of({"texts": ["x"]}, "encode_text")
        first = stub.Predict.future(request, timeout=SECONDS)
        assert entered.wait(SECONDS)
        with pytest.raises(Error) as caught:
            stub.Predict(request, timeout=0.1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        while signature._run._queue.first is not None:
            pass
        go_on.set()
        assert first.result(SECONDS)
        assert predicted(channel, request)
    assert seen == [1, 1]
