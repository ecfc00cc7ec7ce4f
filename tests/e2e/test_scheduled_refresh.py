"""The model that serves is renewed by the clock, by whichever of several schedulers comes first."""

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from riverrun.bench.server import running_server
from serving.published_bundles import current_version
from tests.support.quick_refresh import SETTINGS
from tests.support.waiting import wait_until
from trainer.refresh.runs_file import RunsFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVERY_MINUTE = SETTINGS + '[refresh]\nschedule = "* * * * *"\n'


def test_two_schedulers_renew_the_model_that_serves_one_after_the_other(home: Path) -> None:
    (file := home / "refresh.toml").write_text(EVERY_MINUTE)
    old = current_version(home / "bundles")
    runs = RunsFile(home / "bundles")
    command = [sys.executable, "-m", "riverrun", "scheduler", "--home", str(home)]
    command += ["--settings", str(file)]
    # A server has a scheduler of its own. In a session of its own a refresh of the other one is of
    # low priority beside that process alone, and not beside all tests that run now.
    with (
        running_server(home, environment={"RIVERRUN_SETTINGS": str(file)}) as server,
        subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as scheduler,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):

        def served() -> str:
            # What asks all the time keeps a core from the refreshes.
            time.sleep(0.5)
            answer = client.get("/readyz")
            return str(answer.raise_for_status().json()["model_version"])

        try:
            wait_until(lambda: served() != old, "the old one serves", seconds=600)
        finally:
            scheduler.terminate()
            _, said = scheduler.communicate(timeout=60)
        assert scheduler.returncode == 0, said
        assert b"Traceback" not in said
    assert server.process.returncode == 0
    begun = sorted(runs.all(), key=lambda run: run.started_at)
    for before, after in pairwise(begun):
        assert before.finished_at is not None
        assert before.finished_at <= after.started_at
    assert {run.status for run in begun} <= {"published", "running"}
    assert current_version(home / "bundles") in {run.version for run in begun}
