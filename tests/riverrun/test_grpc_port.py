"""`grpc.port` starts TensorFlow Serving's gRPC API beside the HTTP API, and stops it with it."""

import socket
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub

from riverrun.bench.server import free_port
from riverrun.errors import UserError
from riverrun.server import serving_replica
from riverrun.settings import load_settings
from tests.support.tiny_shop import tiny_shop


def serves(port: int) -> bool:
    request = GetModelStatusRequest()
    request.model_spec.name = "riverrun"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = ModelServiceStub(channel).GetModelStatus(request, timeout=60)
        except grpc.RpcError:
            return False
    return len(answer.model_version_status) == 1


def test_the_port_answers_while_the_shop_or_a_replica_is_open(tmp_path: Path) -> None:
    port = free_port()
    with tiny_shop(tmp_path, grpc={"port": port}):
        assert serves(port)
    assert not serves(port)
    settings = load_settings(home=tmp_path, online_url="memory://", grpc={"port": port})
    with serving_replica(settings):
        assert serves(port)
    assert not serves(port)


def test_a_port_that_is_taken_is_the_users_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shop = tiny_shop(tmp_path, grpc={"port": port})
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
            shop.__enter__()
