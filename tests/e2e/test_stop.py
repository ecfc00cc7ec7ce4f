"""SIGTERM and Ctrl-C to a real `riverrun up` or `serve`."""

import json
import signal
from pathlib import Path

import pytest

from riverrun.bench.server import running_server
from riverrun.settings import load_settings
from tests.support.forked_command import forked_server, stopped
from tests.support.tiny_bundle import build_tiny_bundle
from tests.support.views import view_each, viewed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STOP_SECONDS = 10.0
ITEM_IDS = [f"i{number}" for number in range(30)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build_tiny_bundle(load_settings(home=tmp_path).bundles)
    return tmp_path


def logged(home: Path) -> list[str]:
    """Return the names of what was logged; no line may be anything but what is meant for people."""
    lines = (home / "server.log").read_text()
    assert "Traceback" not in lines
    return [json.loads(line)["event"] for line in lines.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_all_and_what_was_accepted_is_there_again(
    home: Path, number: signal.Signals
) -> None:
    with forked_server(home) as first:
        view_each(first.url, "u", ITEM_IDS)
        # Right after the last answer, whatever the worker is doing.
        assert stopped(first.process, number, STOP_SECONDS) == 0
    assert logged(home)[-2:] == ["stopping", "stopped"]
    with forked_server(home) as second:
        assert viewed(second.url, "u", len(ITEM_IDS)) == ITEM_IDS


def test_a_replica_closes_all(home: Path) -> None:
    with running_server(home, "serve") as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOP_SECONDS) == 0
    assert logged(home)[-2:] == ["stopping", "stopped"]
