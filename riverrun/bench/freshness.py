"""How long it takes until feedback shows in lists, seen from outside the server."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import httpx
import numpy as np

from riverrun.bench.senders import Sender, SteadyLoad, event_of
from riverrun.bench.server import records_behind, wait_until_read

POLL_SECONDS = 0.01
REACHED = 0.95
"""A load that reaches a smaller share of the rate that was asked for is not the one to measure."""
BEHIND_SECONDS = 1.0
"""A worker that is behind by more than the events of so many seconds does not keep up."""
HOPELESS = 10
"""A measurement ends after so many samples whose effect never shows."""


@dataclass(frozen=True, slots=True)
class FreshnessResult:
    """Milliseconds from before something is sent to its visible effect.

    asked: events a second of the load that was to run beside; rate: those that were reached;
    behind: how many events the worker still had to read in the end.
    """

    what: str
    asked: int
    rate: float
    samples: int
    p50_ms: float
    p99_ms: float
    lost: int
    behind: float = 0.0

    @property
    def shortfall(self) -> str | None:
        """A sentence where the load was not the one that was asked for, or was too much."""
        if self.rate < REACHED * self.asked:
            return (
                f"{self.asked:,} events a second were asked for and {self.rate:,.0f} reached: the "
                "sender could not send more on this machine."
            )
        if self.behind > BEHIND_SECONDS * self.asked:
            return (
                f"at {self.asked:,} events a second the worker fell behind: "
                f"{self.behind:,.0f} were unread in the end."
            )
        return None


def event_freshness(
    make: Callable[[], Sender],
    url: str,
    users: Sequence[str],
    load: SteadyLoad,
    *,
    samples: int,
    seed: int,
    learner: str,
) -> FreshnessResult:
    """Time from before an event is sent to the first `/v1/recommend` that reflects it.

    Each sample clicks the first item of a user's list and asks again, leaving out what the
    user has seen, until that item is gone. make: opens a sender. load: runs beside. learner: the
    URL of the process that learns from all events.
    """
    random = np.random.default_rng(seed)
    delays: list[float] = []
    lost = 0
    with (
        httpx.Client(base_url=url, timeout=10) as client,
        make() as sender,
        load,
    ):
        for user in random.choice(np.array(users, dtype=object), samples):
            first = _recommend(client, user)[0]
            start = time.perf_counter()
            sender.send_events([event_of(user, first)])
            gone = _until(partial(_is_not_listed, client, user, first))
            if gone:
                delays.append(time.perf_counter() - start)
            else:
                lost += 1
            if lost == HOPELESS:
                break
        unread = records_behind(learner) if load.rate else 0.0
    # The next measurement must not wait for the events that this load has left.
    wait_until_read(learner)
    return _result("event sent → changed list", load.rate, load.achieved_rate, delays, lost, unread)


def item_freshness(
    make: Callable[[], Sender], urls: Sequence[str], *, samples: int
) -> FreshnessResult:
    """Time from before an item is sent until every server answers what is similar to it."""
    delays: list[float] = []
    lost = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=url, timeout=10)) for url in urls]
        sender = stack.enter_context(make())
        for number in range(samples):
            item_id = f"bench-{uuid4().hex}"
            start = time.perf_counter()
            sender.send_item({"item_id": item_id, "title": f"Blue ceramic teapot number {number}"})
            if all(_until(partial(_is_found, client, item_id)) for client in clients):
                delays.append(time.perf_counter() - start)
            else:
                lost += 1
            sender.delete_item(item_id)
    where = "" if len(urls) == 1 else f" on {len(urls)} replicas"
    return _result(f"new item sent → retrievable{where}", 0, 0, delays, lost)


def _recommend(client: httpx.Client, user_id: str) -> list[str]:
    body = {"user_id": user_id, "limit": 20, "exclude_seen": True}
    answer = client.post("/v1/recommend", json=body).raise_for_status().json()
    return [item["item_id"] for item in answer["items"]]


def _is_not_listed(client: httpx.Client, user_id: str, item_id: str) -> bool:
    return item_id not in _recommend(client, user_id)


def _is_found(client: httpx.Client, item_id: str) -> bool:
    return client.get(f"/v1/items/{item_id}/similar").is_success


def _until(condition: Callable[[], bool], within: float = 10.0) -> bool:
    deadline = time.perf_counter() + within
    while time.perf_counter() < deadline:
        if condition():
            return True
        time.sleep(POLL_SECONDS)
    return False


def _result(
    what: str, asked: int, rate: float, delays: Sequence[float], lost: int, behind: float = 0.0
) -> FreshnessResult:
    p50, p99 = np.percentile(delays, [50, 99]) * 1e3 if delays else (np.nan, np.nan)
    return FreshnessResult(what, asked, rate, len(delays), float(p50), float(p99), lost, behind)
