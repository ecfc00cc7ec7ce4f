"""How a benchmark sends events to the shop, and a steady load of events from another process."""

import itertools
import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol, Self
from uuid import uuid4

import httpx
import numpy as np
import orjson

from streaming.kafka_connection import KafkaConnection

BATCH = 10
WARM_UP_SECONDS = 3.0

Record = dict[str, Any]


class Sender(AbstractContextManager["Sender"], Protocol):
    """Sends records; each call returns once they are durable."""

    def send_events(self, events: Sequence[Record]) -> None:
        """Send events."""
        ...

    def send_item(self, item: Record) -> None:
        """Send a new or changed item."""
        ...

    def delete_item(self, item_id: str) -> None:
        """Take an item off the catalogue."""
        ...


class HttpSender:
    """Posts to the API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send_events(self, events: Sequence[Record]) -> None:
        """Post an array of events."""
        self._client.post("/v1/events", json=list(events)).raise_for_status()

    def send_item(self, item: Record) -> None:
        """Post an item."""
        self._client.post("/v1/items", json=item).raise_for_status()

    def delete_item(self, item_id: str) -> None:
        """Delete an item."""
        self._client.delete(f"/v1/items/{item_id}").raise_for_status()


class KafkaSender:
    """Produces to the topics, knowing nothing but Kafka."""

    def __init__(self, connection: KafkaConnection) -> None:
        from kafka import KafkaProducer

        self._events = connection.topic("events")
        self._items = connection.topic("items")
        self._producer = connection.client(KafkaProducer, acks="all")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()

    def send_events(self, events: Sequence[Record]) -> None:
        """Produce events, keyed by user."""
        now = datetime.now(UTC).isoformat()
        for event in events:
            whole = {"event_id": uuid4().hex, "timestamp": now, **event}
            self._producer.send(
                self._events, key=event["user_id"].encode(), value=orjson.dumps(whole)
            )
        self._producer.flush()

    def send_item(self, item: Record) -> None:
        """Produce an item, keyed by its id."""
        self._send_item(item["item_id"], orjson.dumps(item))

    def delete_item(self, item_id: str) -> None:
        """Produce a tombstone."""
        self._send_item(item_id, None)

    def _send_item(self, item_id: str, value: bytes | None) -> None:
        self._producer.send(self._items, key=item_id.encode(), value=value).get(30)


def event_of(user_id: str, item_id: str) -> Record:
    """Return a view without time and id, which the sender adds."""
    return {"user_id": user_id, "item_id": item_id, "event_type": "view"}


class SteadyLoad:
    """Sends random events at a steady rate, from a process of its own, until its block is left.

    make: opens a sender, in that process. rate: events a second.
    """

    def __init__(
        self, make: Callable[[], Sender], users: Sequence[str], items: Sequence[str], rate: int
    ) -> None:
        self.rate = rate
        # A process of its own: its work must not hold up what is measured here.
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._sent = context.Value("q", 0)
        self._seconds = context.Value("d", 0.0)
        self._process = context.Process(
            target=_send_until_stopped,
            args=(make, users, items, rate, self._stop, self._sent, self._seconds),
            daemon=True,
        )

    @property
    def achieved_rate(self) -> float:
        """Events a second so far."""
        return self._sent.value / self._seconds.value if self._seconds.value else 0.0

    def __enter__(self) -> "SteadyLoad":
        if self.rate:
            self._process.start()
            deadline = time.monotonic() + 60.0
            # Measured under a steady load, not while it ramps up.
            while self._seconds.value < WARM_UP_SECONDS and time.monotonic() < deadline:
                time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.rate:
            self._process.join(30)


def _send_until_stopped(
    make: Callable[[], Sender],
    users: Sequence[str],
    items: Sequence[str],
    rate: int,
    stop: Any,
    sent: Any,
    seconds: Any,
) -> None:
    random = np.random.default_rng(0)
    size = max(BATCH, rate // 50)
    with make() as sender:
        start = time.perf_counter()
        for batch in itertools.count(1):
            who = random.integers(len(users), size=size)
            what = random.integers(len(items), size=size)
            sender.send_events(
                [event_of(users[user], items[item]) for user, item in zip(who, what, strict=True)]
            )
            sent.value += size
            seconds.value = time.perf_counter() - start
            if stop.wait(max(batch * size / rate - seconds.value, 0)):
                return
