"""A bundle, and a channel to a server of it."""

from collections.abc import Iterator

import grpc
import pytest

from serving.bundle import Bundle
from serving.bundle_loading import load_bundle
from serving.live_model import ModelHolder
from serving.prediction.predictor import Predictor
from tests.support.grpc_calls import connected, live_model
from tests.support.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(build_tiny_bundle(tmp_path_factory.mktemp("bundles")))


@pytest.fixture(scope="module", params=[1, 64], ids=["alone", "micro-batched"])
def channel(bundle: Bundle, request: pytest.FixtureRequest) -> Iterator[grpc.Channel]:
    predictor = Predictor(ModelHolder(live_model(bundle, request.param)), "riverrun")
    with connected(predictor) as channel:
        yield channel
