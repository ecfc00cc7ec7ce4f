"""kill -9 of `riverrun up` at random moments: what it acknowledged is there, and counted once."""

import random
import shutil
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS
from feature_repo.open_online_features import open_online_features
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from tests.support.final_state import final_state
from tests.support.forked_command import forked, forked_server
from tests.support.stream import event, item
from tests.support.traffic import USERS_IN_SHOP, Record, make_requests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20260301
REQUESTS = 120
KILLS_AT_WORK, KILLS_AT_START = 8, 14
START_SECONDS = 2.0
"""About what it takes until it is ready: killed before, it recovers from the kill before that."""


def sendable(requests: list[list[Record]]) -> list[list[Record]]:
    """Leave out what HTTP refuses, which is tested elsewhere."""
    return [
        sent
        for request in requests
        if (sent := [each for each in request if each[2] is None or each[2].startswith(b'{"')])
    ]


def post(client: httpx.Client, request: list[Record]) -> None:
    """Send what is of one kind together; return once all of it is acknowledged."""
    for topic, key, value in request:
        if topic != EVENTS and value is None:
            client.delete(f"/v1/{topic}/{key}").raise_for_status()
    for topic in (ITEMS, USERS, EVENTS):
        bodies = [orjson.Fragment(value) for sent, _, value in request if sent == topic and value]
        if bodies:
            json = {"content-type": "application/json"}
            answer = client.post(f"/v1/{topic}", content=orjson.dumps(bodies), headers=json)
            answer.raise_for_status()


def undisturbed(home: Path, requests: list[list[Record]]) -> None:
    with forked_server(home) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for request in requests:
            post(client, request)
        settle(client)


def killed(home: Path, requests: list[list[Record]]) -> None:
    """Send every request until it is acknowledged."""
    draw = random.Random(SEED)
    doomed = sorted(draw.sample(range(len(requests)), KILLS_AT_WORK))
    starts = sorted(draw.choices(range(KILLS_AT_WORK), k=KILLS_AT_START))
    position = 0
    for life, last in enumerate([*doomed, None]):
        with forked_server(home) as server, httpx.Client(base_url=server.url, timeout=30) as client:
            for request in requests[position:last]:
                post(client, request)
                position += 1
            if last is None:
                settle(client)
                check_lists(client)
                return
            timer = threading.Timer(draw.uniform(0, 0.03), server.process.kill)
            timer.start()
            with suppress(httpx.TransportError):
                while True:
                    post(client, requests[position])
                    position = min(position + 1, len(requests) - 1)
            timer.join()
        for _ in range(starts.count(life)):
            with forked(["up", "--home", str(home), "--port", "0"], home) as (process, _said):
                time.sleep(draw.uniform(0, START_SECONDS))
                process.kill()


def settle(client: httpx.Client) -> None:
    """Return once all that was sent counts, and all users are embedded by what items are now."""
    wait = {"wait": "applied"}
    made = item(0).model_dump(mode="json", exclude_none=True)
    client.post("/v1/items", json=made, params=wait).raise_for_status()
    minutes = 2.0 * REQUESTS
    last = [event(-n, f"u{n}", "i0", minutes) for n in range(USERS_IN_SHOP)]
    bodies = [each.model_dump(mode="json", exclude_none=True) for each in last]
    client.post("/v1/events", json=bodies, params=wait).raise_for_status()


def check_lists(client: httpx.Client) -> None:
    """Lists leave out what their user has seen, most of it before the last kill."""
    for number in range(USERS_IN_SHOP):
        user_id = f"u{number}"
        user = client.get(f"/v1/users/{user_id}").raise_for_status().json()
        seen = {each["item_id"] for each in user["history"]}
        body = {"user_id": user_id, "exclude_seen": True}
        answer = client.post("/v1/recommend", json=body).raise_for_status().json()
        listed = {each["item_id"] for each in answer["items"]}
        assert len(seen) > 1
        assert listed
        assert not listed & seen


def state_of(home: Path) -> dict[str, Any]:
    online = open_online_features(f"sqlite://{home / 'online.sqlite'}", home / "registry.db")
    with (
        closing(online),
        closing(SqliteState(home / "checkpoint.sqlite")) as state,
        closing(SqliteLog(home / "log.sqlite")) as log,
    ):
        return final_state(log, online, state, Archive(home / "archive"))


def sums(statistics: Any) -> dict[str, Any]:
    """Return, by item, what is equal to the last bit, and the decayed counts."""
    found = statistics.values() if isinstance(statistics, dict) else statistics
    return {
        each.item_id: ((each.timestamp, each.event_types), [each.hour, each.day, each.week])
        for each in found
        if each is not None
    }


def test_killed_at_random_moments_it_ends_as_if_never_killed(home: Path, tmp_path: Path) -> None:
    requests = sendable(make_requests(REQUESTS, SEED))
    other = Path(shutil.copytree(home, tmp_path / "undisturbed"))
    undisturbed(other, requests)
    killed(home, requests)
    expected, got = state_of(other), state_of(home)
    # Sums over what was imported are in whatever order Polars' threads add them up.
    for part in ("statistics", "ItemStatistics"):
        a, b = sums(expected.pop(part)), sums(got.pop(part))
        assert b.keys() == a.keys()
        for item_id, (exact, decayed) in a.items():
            assert b[item_id][0] == exact
            np.testing.assert_allclose(b[item_id][1], decayed, rtol=1e-12, err_msg=item_id)
    for part, value in expected.items():
        assert got[part] == value, part
    assert expected["unpushed"] == 0
    assert expected["histories"]
    assert expected["events"]
