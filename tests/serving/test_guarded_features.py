"""A store that fails: who asks it, who does not, and what is said of it."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from feature_repo.history import UserHistory
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from serving.guarded_features import PAUSE_SECONDS, REMEMBERED_SECONDS, GuardedFeatures
from serving.requests import FeaturesUnavailableError

KNOWN = UserHistory("known", ())
SECONDS = 30.0


class Store(InMemoryOnlineFeatures):
    """Fails while `broken`; counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.push([KNOWN])
        self.broken = False
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def get(self, view: Any, keys: Sequence[str]) -> list[Any]:
        self.asked += 1
        assert self.answers.wait(SECONDS)
        if self.broken:
            raise ConnectionError("Redis is away")
        return super().get(view, keys)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Guarded:
    def __init__(self) -> None:
        self.store, self.clock, self.registry = Store(), Clock(), CollectorRegistry()
        self.features = GuardedFeatures(self.store, self.registry, self.clock)

    def read(self) -> bool:
        """Whether the user could be read."""
        try:
            assert self.features.get(UserHistory, ["known"]) == [KNOWN]
        except FeaturesUnavailableError:
            return False
        return True

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"riverrun_{name}")


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


def test_a_store_that_has_failed_is_left_alone_for_a_while(guarded: Guarded) -> None:
    assert guarded.read()
    guarded.store.broken = True
    assert not guarded.read()
    asked = guarded.store.asked
    guarded.store.broken = False
    assert not any(guarded.read() for _ in range(10))
    assert guarded.store.asked == asked
    guarded.clock.now += PAUSE_SECONDS
    assert all(guarded.read() for _ in range(10))
    assert guarded.store.asked == asked + 10


def test_one_at_a_time_tries_whether_it_answers_again(guarded: Guarded) -> None:
    guarded.store.broken = True
    assert not guarded.read()
    guarded.store.answers.clear()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            guarded.clock.now += PAUSE_SECONDS
            asked = guarded.store.asked
            trying = pool.submit(guarded.read)
            while guarded.store.asked == asked:
                pass
            guarded.clock.now += 10 * PAUSE_SECONDS
            assert not guarded.read()
            assert guarded.store.asked == asked + 1
            guarded.store.answers.set()
            assert not trying.result()
            guarded.store.answers.clear()


def test_an_outage_is_logged_once_and_what_it_takes_is_counted(guarded: Guarded) -> None:
    # Where Feast is imported first, counters of one name are one for the whole process.
    before = guarded.metric("users_not_read_total") or 0.0
    with capture_logs() as logs:
        for _ in range(2):
            assert guarded.read()
            assert (guarded.features.degraded(), guarded.metric("online_store_up")) == ([], 1.0)
            guarded.store.broken = True
            for _ in range(5):
                assert not guarded.read()
                guarded.clock.now += PAUSE_SECONDS / 2
            [reason] = guarded.features.degraded()
            assert "the online store does not answer" in reason
            assert guarded.metric("online_store_up") == 0.0
            guarded.store.broken = False
            guarded.clock.now += PAUSE_SECONDS
            assert guarded.read()
    assert [line["event"] for line in logs] == ["online_store_failed", "online_store_answers"] * 2
    assert guarded.metric("users_not_read_total") == before + 10


def test_a_failure_is_told_of_while_somebody_asks_and_a_minute_on(guarded: Guarded) -> None:
    def told() -> bool:
        assert (guarded.metric("online_store_up") == 0.0) is bool(guarded.features.degraded())
        return bool(guarded.features.degraded())

    guarded.store.broken = True
    for _ in range(10):
        assert not guarded.read()
        guarded.clock.now += REMEMBERED_SECONDS / 2
        assert told()
    guarded.store.broken = False
    guarded.clock.now += REMEMBERED_SECONDS / 2
    assert not told()
    guarded.store.broken = True
    assert not guarded.read()
    assert told()
