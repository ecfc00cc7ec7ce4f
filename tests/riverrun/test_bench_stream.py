"""`riverrun bench stream` counts what a worker applies, and says where its time goes."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from riverrun.bench import stream as bench
from riverrun.bench.kafka_shop import KafkaShop
from riverrun.bench.server import RunningServer, metric_totals
from riverrun.metrics_server import MetricsServer
from streaming.kafka_log import KafkaLog
from streaming.metrics import StreamMetrics
from streaming.settings import StreamingSettings
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.kafka_server import fresh_topics
from tests.support.stream import FakeModel, MemoryOnline

pytestmark = pytest.mark.kafka

EVENTS = 400


class WatchedOnline(MemoryOnline):
    """Takes a push once the metrics were looked at since the last, so that there is a rate.

    Any machine might apply all events between two looks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_watched = True
        self.look = threading.Event()

    def push(self, records: Sequence[Any]) -> None:
        if self.is_watched:
            assert self.look.wait(30)
            self.look.clear()
        super().push(records)


@contextmanager
def worker_in_a_thread(shop: KafkaShop, online: WatchedOnline) -> Iterator[RunningServer]:
    """A worker of this process, and its metrics, in the place of a `riverrun stream`."""
    metrics = StreamMetrics()
    process: Any = SimpleNamespace(pid=os.getpid())
    with (
        closing(KafkaLog(shop.connection)) as log,
        closing(SqliteState(shop.home / "state.sqlite")) as state,
        MetricsServer("127.0.0.1", 0, metrics.registry) as server,
    ):
        settings = StreamingSettings(batch_records=20)
        worker = Worker(log, online, state, FakeModel(), settings=settings, metrics=metrics)
        worker.start()
        server.start()
        yield RunningServer(f"http://127.0.0.1:{server.server_port}", process)
        server.shutdown()
        online.is_watched = False
        online.look.set()
        worker.stop()
        assert worker.failure is None


def test_the_rates_and_the_shares_of_the_stages_are_measured(
    tmp_path: Path, kafka_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = WatchedOnline()

    def look(*arguments: str) -> dict[str, float]:
        try:
            return metric_totals(*arguments)
        finally:
            online.look.set()

    monkeypatch.setattr(bench, "metric_totals", look)
    monkeypatch.setattr(bench, "running_worker", lambda shop: worker_in_a_thread(shop, online))
    monkeypatch.setattr(bench, "LOOK_SECONDS", 0.01)
    shop = KafkaShop(tmp_path, fresh_topics(kafka_address), {})
    users, items = ([f"{kind}{number}" for number in range(9)] for kind in "ui")
    result = bench.measure_stream(shop, users, items, events=EVENTS, seed=3)
    assert result.events == EVENTS
    rates = (result.produced_per_second, result.consumed_per_second, result.applied_per_second)
    assert min(rates) > 0
    assert result.cpu_seconds >= 0
    shares = dict(result.stages)
    assert {"fold", "commit state", "push", "encode users", "online store"} <= shares.keys()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
