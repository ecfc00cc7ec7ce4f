"""Events a second through the whole path: Kafka, state, embeddings, Redis, commit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import orjson
from kafka import KafkaConsumer, KafkaProducer

from riverrun.bench.kafka_shop import KafkaShop, running_worker
from riverrun.bench.senders import event_of
from riverrun.bench.server import RunningServer, metric_totals
from riverrun.errors import UserError

LOOK_SECONDS = 0.25
WAIT_SECONDS = 900.0
RECORDS = "riverrun_stream_records_total"
STAGES = "riverrun_stream_stage_seconds_total"
PARTS_OF_PUSH = ("encode items", "encode users", "changelog", "online store")


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Events a second, and the shares of the worker's time by stage, largest first.

    produced, consumed: records a second of kafka-python alone, in one thread, for the same records.
    cpu_seconds: of the worker's process for 10,000 events; other work on the machine changes it
        little.
    """

    events: int
    produced_per_second: float
    consumed_per_second: float
    applied_per_second: float
    cpu_seconds: float
    stages: Sequence[tuple[str, float]]


def measure_stream(
    shop: KafkaShop, users: Sequence[str], items: Sequence[str], *, events: int, seed: int
) -> StreamResult:
    """Produce `events`, read them and do nothing else, then let one worker apply them.

    All events are there when the worker starts. Its rate is measured between the first and
    the last tenth, so that neither its start nor an idle end counts.
    """
    records = _records(users, items, events, seed)
    topic = shop.connection.topic("events")
    produced = _produce(shop, topic, records)
    consumed = _consume(shop, topic, events)
    with running_worker(shop) as worker:
        applied = _watch(worker, events)
        seconds = metric_totals(worker.url, STAGES, "stage")
    # Publishing is timed as a whole and by its parts.
    seconds["push"] -= sum(seconds.get(part, 0.0) for part in PARTS_OF_PUSH)
    total = sum(seconds.values())
    shares = sorted(((stage, s / total) for stage, s in seconds.items()), key=lambda each: -each[1])
    return StreamResult(events, produced, consumed, *applied, shares)


def _produce(shop: KafkaShop, topic: str, records: Sequence[tuple[bytes, bytes]]) -> float:
    producer = shop.connection.client(KafkaProducer, acks="all")
    start = time.perf_counter()
    for key, value in records:
        producer.send(topic, key=key, value=value)
    producer.flush()
    seconds = time.perf_counter() - start
    producer.close()
    return len(records) / seconds


def _records(
    users: Sequence[str], items: Sequence[str], count: int, seed: int
) -> list[tuple[bytes, bytes]]:
    random = np.random.default_rng(seed)
    begin = datetime.now(UTC) - timedelta(hours=1)
    records = []
    for number in range(count):
        user = users[int(random.integers(len(users)))]
        item = items[int(random.integers(len(items)))]
        event = {
            **event_of(user, item),
            "event_id": uuid4().hex,
            "timestamp": (begin + timedelta(milliseconds=number)).isoformat(),
        }
        records.append((user.encode(), orjson.dumps(event)))
    return records


def _watch(worker: RunningServer, events: int) -> tuple[float, float]:
    """Return the rate between a tenth and nine tenths, and CPU seconds for 10,000 events."""
    start: tuple[float, float, float] | None = None
    done, deadline = 0.0, time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        done = metric_totals(worker.url, RECORDS, "result").get("applied", 0.0)
        now = time.perf_counter(), done, worker.cpu_seconds
        if start is None and done >= 0.1 * events:
            start = now
        if start is not None and done >= 0.9 * events:
            seconds, applied, cpu = (
                after - before for before, after in zip(start, now, strict=True)
            )
            return applied / max(seconds, 1e-9), cpu / max(applied, 1.0) * 10_000
        time.sleep(LOOK_SECONDS)
    raise UserError(f"the worker applied {done:,.0f} of {events:,} events in {WAIT_SECONDS:.0f} s.")


def _consume(shop: KafkaShop, topic: str, events: int) -> float:
    consumer = shop.connection.client(
        KafkaConsumer,
        group_id=f"bench-{uuid4().hex}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    consumer.subscribe([topic])
    read, start, deadline = 0, 0.0, time.monotonic() + WAIT_SECONDS
    while read < events and time.monotonic() < deadline:
        polled = consumer.poll(timeout_ms=1_000, max_records=500)
        # From the first batch: joining the group takes seconds.
        if polled and not start:
            start = time.perf_counter()
        read += sum(len(some) for some in polled.values())
    consumer.close()
    return read / (time.perf_counter() - start)
