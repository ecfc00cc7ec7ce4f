"""The gRPC server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from tensorflow_serving.apis.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    add_PredictionServiceServicer_to_server,
)

from serving.grpc.services import ModelService, PredictionService
from serving.prediction.predictor import Predictor

GRACE_SECONDS = 3.0
"""How long calls in flight may take after the server has been told to stop."""


@contextmanager
def grpc_server(
    predictor: Predictor, address: str, *, threads: int, queue: int, max_message_bytes: int
) -> Iterator[int]:
    """Serve at `address`, "HOST:PORT", and give the port; leaving the block waits for open calls.

    Port 0 takes a free one. threads: how many calls are answered at a time. queue: how many
    others may wait; further calls are answered RESOURCE_EXHAUSTED.
    Raises `OSError` where the address cannot be listened on.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc")
    server = grpc.server(
        pool,
        maximum_concurrent_rpcs=threads + queue,
        options=[
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # With it, a second server on the same port would get some of the calls, at random.
            ("grpc.so_reuseport", 0),
        ],
    )
    add_PredictionServiceServicer_to_server(PredictionService(predictor), server)
    add_ModelServiceServicer_to_server(ModelService(predictor), server)
    try:
        port: int = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    server.start()
    try:
        yield port
    finally:
        server.stop(GRACE_SECONDS).wait()
        pool.shutdown()
