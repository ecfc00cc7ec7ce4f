"""`training.strategy = "multi_worker_mirrored"`, by real commands with a cluster in `TF_CONFIG`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from serving.published_bundles import current_bundle
from tests.support import tiny_training as tiny
from tests.support.redis_server import free_port
from tests.support.tiny_refresh import events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = f"""
{tiny.TRAINING}labels_per_position = 1
epochs = 1
strategy = "multi_worker_mirrored"
[training.ranking]
enabled = false
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A shop with something to learn from."""
    home = tmp_path / "shop"
    archive = Archive(home / "archive")
    archive.write_items("items", tiny.tiny_items())
    archive.write_events("first", events(0, 20))
    (tmp_path / "riverrun.toml").write_text(
        SETTINGS.format(preset=tiny.tiny_preset(tmp_path / "bert"))
    )
    return home


def run(command: str, home: Path, workers: int) -> subprocess.CompletedProcess[str]:
    """Run the command as the first of so many workers on this machine."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(workers)]}
    config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
    file = home.parent / "riverrun.toml"
    return subprocess.run(
        [sys.executable, "-m", "riverrun", command, "--home", str(home), "--settings", str(file)],
        env={**os.environ, "TF_CONFIG": config, "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_one_worker_trains_and_publishes(home: Path) -> None:
    done = run("train", home, workers=1)
    assert done.returncode == 0, done.stderr
    assert current_bundle(home / "bundles") is not None
    done = run("evaluate", home, workers=1)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_several_workers_are_refused_in_one_line(home: Path, command: str) -> None:
    done = run(command, home, workers=2)
    assert done.returncode == 2, done.stderr
    assert "`training.strategy` 'multi_worker_mirrored' trains with one worker" in done.stderr
    assert "Received 2 workers in TF_CONFIG." in done.stderr
    assert "Traceback" not in done.stderr
    assert current_bundle(home / "bundles") is None
