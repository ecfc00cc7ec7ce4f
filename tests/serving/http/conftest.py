"""A whole shop behind the API, in this process: real model, log and worker; features in memory."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from riverrun.embedded import embedded_shop
from riverrun.settings import load_settings
from tests.support.tiny_bundle import build_tiny_bundle


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    home = tmp_path_factory.mktemp("shop")
    settings = load_settings(home=home, online_url="memory://")
    build_tiny_bundle(settings.bundles)
    with embedded_shop(settings) as shop:
        yield shop.app


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        while not client.get("/readyz").is_success:
            pass
        yield client
