"""The load of `riverrun bench serving` is answered, and what is not answered is counted."""

from pathlib import Path

import numpy as np
import pytest

from feature_repo.history import HistoryEvent, UserHistory
from riverrun.bench.server import free_port
from riverrun.bench.serving import CallLoad, Question, Transport, measure_calls, request_bodies
from riverrun.errors import UserError
from serving.bundle_loading import load_bundle
from serving.grpc.server import grpc_server
from serving.http.tensorflow_json import read_body
from serving.item_rows import ItemRows
from serving.live_model import LiveModel, ModelHolder
from serving.prediction.predictor import Predictor
from tests.support.tiny_bundle import build_tiny_bundle

HISTORIES = [
    UserHistory("u", (HistoryEvent(1, "e", "i1", "view", 0.0),)),
    UserHistory("v", (HistoryEvent(1, "e", "i2", "view", 0.0),) * 3),
]


@pytest.mark.parametrize("question", Question)
@pytest.mark.parametrize("load", [CallLoad(1), CallLoad(3), CallLoad(2, rate=50)])
def test_calls_are_answered_and_timed(tmp_path: Path, question: Question, load: CallLoad) -> None:
    model = LiveModel.create(load_bundle(build_tiny_bundle(tmp_path)), ItemRows())
    predictor = Predictor(ModelHolder(model), "riverrun")
    bodies = request_bodies(HISTORIES, question, Transport.GRPC)
    with grpc_server(predictor, "127.0.0.1:0", threads=4, queue=4, max_message_bytes=2**20) as port:
        result = measure_calls(f"127.0.0.1:{port}", Transport.GRPC, bodies, load, 0.2)
    assert result.failed == 0
    assert 0 < result.p50_ms <= result.p99_ms
    assert result.per_second > 0
    bodies = request_bodies(HISTORIES, question, Transport.REST)
    for body in bodies:
        asked = read_body(body)
        signature = model.signatures[asked.signature_name]
        outputs = signature.predict(asked.arrays(signature.inputs))
        assert np.all([len(output) == 1 for output in outputs.values()])


@pytest.mark.parametrize("transport", Transport)
def test_a_server_that_does_not_answer_is_said_so(transport: Transport) -> None:
    bodies = request_bodies(HISTORIES, Question.TOP_K, transport)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=f"no call over {transport.value} was answered"):
        measure_calls(address, transport, bodies, CallLoad(1), 0.05)
