"""The version stands in one place, and every process and bundle says it."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from prometheus_client import CollectorRegistry, generate_latest

from riverrun import __version__
from riverrun.cli.stream import stream
from riverrun.errors import UserError
from riverrun.server import serving_replica
from riverrun.settings import load_settings
from tests.support.tiny_shop import tiny_shop

ROOT = Path(__file__).parents[2]
BUILD = f'riverrun_build_info{{version="{__version__}"}} 1.0\n'


def test_the_package_is_built_as_the_version_that_the_program_says() -> None:
    metadata = ProjectMetadata(str(ROOT), PluginManager())
    assert metadata.dynamic == ["version"]
    assert metadata.version == __version__


def test_the_changelog_has_a_section_of_the_version() -> None:
    assert f"\n## {__version__} - 20" in (ROOT / "CHANGELOG.md").read_text()


def test_servers_say_which_version_they_are(tmp_path: Path) -> None:
    with tiny_shop(tmp_path) as shop:
        check(shop.app)
    with serving_replica(load_settings(home=tmp_path)) as replica:
        check(replica)


def check(app: FastAPI) -> None:
    client = TestClient(app)
    assert BUILD in client.get("/metrics").text
    assert client.get("/openapi.json").json()["info"]["version"] == __version__


def test_a_worker_says_which_version_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[CollectorRegistry] = []

    def metrics_server(host: str, port: int, registry: CollectorRegistry) -> Any:
        served.append(registry)

    monkeypatch.setattr("riverrun.metrics_server.MetricsServer", metrics_server)
    with pytest.raises(UserError, match="bundle"):
        stream(metrics_port=0, home=tmp_path)
    assert BUILD in generate_latest(served[0]).decode()
