"""What `riverrun bench freshness` counts, by a clock that only sending moves."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest

from riverrun.bench import freshness
from riverrun.bench.senders import Record, SteadyLoad


class SlowSender:
    """A second passes until what is sent is durable. It shows at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def send_events(self, events: Sequence[Record]) -> None:
        self.now += 1.0
        self.seen |= {event["item_id"] for event in events}

    def send_item(self, item: Record) -> None:
        self.now += 1.0

    def delete_item(self, item_id: str) -> None:
        self.now += 1.0


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> SlowSender:
    sender = SlowSender()

    def recommended(client: httpx.Client, user_id: str) -> list[str]:
        return [each for each in map(str, range(99)) if each not in sender.seen]

    replaced: dict[str, Any] = {
        "time": SimpleNamespace(perf_counter=lambda: sender.now),
        "_recommend": recommended,
        "_is_found": lambda *_: True,
        "wait_until_read": lambda _: None,
    }
    for name, value in replaced.items():
        monkeypatch.setattr(freshness, name, value)
    return sender


def test_the_sending_of_an_event_counts(sender: SlowSender) -> None:
    load = SteadyLoad(lambda: sender, ["u"], ["i"], 0)
    result = freshness.event_freshness(
        lambda: sender, "http://a", ["u"], load, samples=10, seed=1, learner="http://b"
    )
    assert (result.what, result.samples) == ("event sent → changed list", 10)
    assert (result.p50_ms, result.p99_ms) == (1_000.0, 1_000.0)


def test_the_sending_of_an_item_counts(sender: SlowSender) -> None:
    result = freshness.item_freshness(lambda: sender, ["http://a", "http://b"], samples=10)
    assert result.what == "new item sent → retrievable on 2 replicas"
    assert (result.p50_ms, result.p99_ms) == (1_000.0, 1_000.0)
