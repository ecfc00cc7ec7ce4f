"""A whole shop behind the API, in this process: real model, log and worker; features in memory."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from riverrun.embedded import EmbeddedShop
from tests.support.tiny_shop import tiny_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedShop]:
    with tiny_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="session")
def app(shop: EmbeddedShop) -> FastAPI:
    return shop.app


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        while not client.get("/readyz").is_success:
            pass
        yield client
