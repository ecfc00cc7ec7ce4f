"""kill -9 at random moments: nothing acknowledged is lost, and no trace of the kills is left."""

import random
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from feature_repo.archive import Archive
from feature_repo.open_online_features import open_online_features
from streaming.sqlite_state import SqliteState
from tests.support.final_state import final_state
from tests.support.stream_process import FINISH, StreamProcess, log_of
from tests.support.traffic import Record, make_requests, with_erasures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20260102
KILLS = 24


def run(home: Path, requests: list[list[Record]], kills: int) -> None:
    """Send every request until it is acknowledged, killing the process `kills` times."""
    home.mkdir()
    draw = random.Random(SEED + 1)
    # The moments of the kills are spread over the requests; each comes some ms after its request.
    doomed = set(draw.sample(range(len(requests)), kills))
    stream = StreamProcess(home)
    waiting = True
    killed = 0
    position = 0
    while position < len(requests):
        timer = None
        try:
            if waiting:
                assert stream.pipe.recv() == "ready"
                waiting = False
            if position in doomed:
                doomed.discard(position)
                timer = threading.Timer(draw.uniform(0, 0.05), stream.kill)
                timer.start()
            request = requests[position]
            assert stream.ask(request) == len(request)
            position += 1
            if timer is not None:
                timer.join()
                stream.pipe.recv()  # acknowledged, then killed: it must not be lost
        except (EOFError, OSError):
            if timer is not None:
                timer.join()
            stream.join()
            killed += 1
            stream = StreamProcess(home)
            while draw.random() < 0.3:
                time.sleep(draw.uniform(0, 0.4))  # while it recovers from the last kill
                stream.kill()
                stream.join()
                killed += 1
                stream = StreamProcess(home)
            waiting = True
    if waiting:
        assert stream.pipe.recv() == "ready"
    assert stream.ask(FINISH) == "finished"
    stream.join()
    assert killed >= kills


def state_of(home: Path) -> dict[str, Any]:
    online = open_online_features(f"sqlite://{home / 'online.sqlite'}", home / "registry.db")
    with (
        closing(online),
        closing(SqliteState(home / "checkpoint.sqlite")) as state,
        closing(log_of(home)) as log,
    ):
        return final_state(log, online, state, Archive(home / "archive"))


def test_killed_at_random_moments_it_ends_as_if_never_killed(tmp_path: Path) -> None:
    requests = with_erasures(make_requests(400, SEED), SEED)
    run(tmp_path / "undisturbed", requests, 0)
    run(tmp_path / "killed", requests, KILLS)
    expected, got = state_of(tmp_path / "undisturbed"), state_of(tmp_path / "killed")
    # A request that was killed before its acknowledgement is sent again, rubbish included.
    assert set(got.pop("dead")) == set(expected.pop("dead"))
    for part, value in expected.items():
        assert got[part] == value, part
    assert expected["unpushed"] == 0
    assert expected["histories"]
    assert expected["events"]
    assert any(weight for _, _, weight, *_ in expected["fold_in"].values())
