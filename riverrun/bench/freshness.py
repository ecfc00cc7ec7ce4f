"""How long until feedback counts, seen from outside the server."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import httpx
import numpy as np

BATCH = 10
POLL_SECONDS = 0.002


@dataclass(frozen=True, slots=True)
class FreshnessResult:
    """Milliseconds from an acknowledgement to its visible effect; `rate` is what ran beside."""

    what: str
    rate: float
    samples: int
    p50_ms: float
    p99_ms: float
    lost: int


def event_freshness(
    url: str, users: Sequence[str], items: Sequence[str], *, rate: int, samples: int, seed: int
) -> FreshnessResult:
    """From the 202 of `/v1/events` to the first `/v1/recommend` whose list reflects it.

    Each sample clicks the first item of a user's list and asks again, leaving out what the
    user has seen, until that item is gone.
    """
    random = np.random.default_rng(seed)
    delays: list[float] = []
    lost = 0
    with (
        httpx.Client(base_url=url, timeout=10) as client,
        _Load(url, users, items, rate) as load,
    ):
        for user in random.choice(np.array(users, dtype=object), samples):
            first = _recommend(client, user)[0]
            _post(client, "/v1/events", _event(user, first))
            acknowledged = time.perf_counter()
            gone = _until(partial(_is_not_listed, client, user, first))
            if gone:
                delays.append(time.perf_counter() - acknowledged)
            else:
                lost += 1
    return _result("event → changed list", load.achieved_rate, delays, lost)


def item_freshness(url: str, *, samples: int) -> FreshnessResult:
    """From the acknowledgement of `/v1/items` to the item's own similar items being served."""
    delays: list[float] = []
    lost = 0
    with httpx.Client(base_url=url, timeout=10) as client:
        for number in range(samples):
            item_id = f"bench-{uuid4().hex}"
            item = {"item_id": item_id, "title": f"Blue ceramic teapot number {number}"}
            _post(client, "/v1/items", item)
            acknowledged = time.perf_counter()
            path = f"/v1/items/{item_id}/similar"
            if _until(partial(_is_found, client, path)):
                delays.append(time.perf_counter() - acknowledged)
            else:
                lost += 1
            client.delete(f"/v1/items/{item_id}")
    return _result("new item → retrievable", 0, delays, lost)


class _Load:
    """Posts events in small batches at a steady rate until it is stopped."""

    def __init__(self, url: str, users: Sequence[str], items: Sequence[str], rate: int) -> None:
        self._url, self._users, self._items, self._rate = url, users, items, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-load", daemon=True)
        self._sent = 0
        self._seconds = 0.0

    @property
    def achieved_rate(self) -> float:
        return self._sent / self._seconds if self._seconds else 0.0

    def __enter__(self) -> "_Load":
        if self._rate:
            self._thread.start()
            time.sleep(2)  # measure under a steady load, not while it ramps up
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        if self._rate:
            self._thread.join()

    def _run(self) -> None:
        random = np.random.default_rng(0)
        start = time.perf_counter()
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for batch in itertools.count(1):
                users = random.integers(len(self._users), size=BATCH)
                items = random.integers(len(self._items), size=BATCH)
                events = [
                    _event(self._users[user], self._items[item])
                    for user, item in zip(users, items, strict=True)
                ]
                _post(client, "/v1/events", events)
                self._sent += BATCH
                self._seconds = time.perf_counter() - start
                if self._stop.wait(max(batch * BATCH / self._rate - self._seconds, 0)):
                    return


def _event(user_id: str, item_id: str) -> dict[str, str]:
    return {"user_id": user_id, "item_id": item_id, "event_type": "view"}


def _post(client: httpx.Client, path: str, body: object) -> None:
    client.post(path, json=body).raise_for_status()


def _recommend(client: httpx.Client, user_id: str) -> list[str]:
    body = {"user_id": user_id, "limit": 20, "exclude_seen": True}
    answer = client.post("/v1/recommend", json=body).raise_for_status().json()
    return [item["item_id"] for item in answer["items"]]


def _is_not_listed(client: httpx.Client, user_id: str, item_id: str) -> bool:
    return item_id not in _recommend(client, user_id)


def _is_found(client: httpx.Client, path: str) -> bool:
    return client.get(path).is_success


def _until(condition: Callable[[], bool], within: float = 10.0) -> bool:
    deadline = time.perf_counter() + within
    while time.perf_counter() < deadline:
        if condition():
            return True
        time.sleep(POLL_SECONDS)
    return False


def _result(what: str, rate: float, delays: Sequence[float], lost: int) -> FreshnessResult:
    p50, p99 = np.percentile(delays, [50, 99]) * 1e3 if delays else (np.nan, np.nan)
    return FreshnessResult(what, rate, len(delays), float(p50), float(p99), lost)
