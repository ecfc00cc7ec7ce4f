"""Requests while there are too many of them, or something beside the server fails or is slow."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import orjson
import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Metric

from feature_repo.event_log import Message, TopicPartition
from feature_repo.schema import Item
from riverrun.http_server import HttpServer
from serving.catalogue import Catalogue
from serving.http import ingest, tensorflow_serving
from serving.http.app import create_app
from serving.http.body import THREADED_BYTES
from serving.http.body_budget import FREE_BYTES
from serving.http.ingest import APPEND_THREADS, ENDS_THREADS
from serving.http.problems import FieldError, field_errors
from serving.http.services import Effects, Health, Services
from serving.http.tensorflow_serving import MAX_GUNZIPPED_BYTES
from serving.requests import FeaturesUnavailableError, Recommendation, TrendingRequest
from serving.settings import (
    REMOTE_LIST_THREADS,
    HttpSettings,
    ServingSettings,
    TensorFlowServingSettings,
)
from serving.signatures import RECOMMEND
from tests.support.waiting import wait_until

SECONDS = 30.0


VERSION = "20260102T030405Z-3f0f"
PREDICT = "/v1/models/riverrun:predict"
# More than there are threads for whatever else is done beside the event loop.
MANY = APPEND_THREADS + 10


class Shop:
    """What routes ask of a shop whose work takes until `go_on`, and whose store is away."""

    inputs: Mapping[str, Any] = MappingProxyType({})
    outputs: Mapping[str, Any] = MappingProxyType({})

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.ends_go_on = threading.Event()
        self.collected = threading.Event()
        self.lock = threading.Lock()
        self.appending = self.looking = self.predicting = 0

    def trending(self, request: TrendingRequest) -> Recommendation:
        assert self.go_on.wait(SECONDS)
        return Recommendation(request.request_id, VERSION, ())

    def predict(self, inputs: Any, timeout: float | None) -> dict[str, Any]:
        with self.lock:
            self.predicting += 1
        assert self.go_on.wait(SECONDS)
        return {"scores": np.zeros(1)}

    def append(self, topic: str, messages: Sequence[Message]) -> dict[TopicPartition, int]:
        with self.lock:
            self.appending += 1
        assert self.go_on.wait(SECONDS)
        return {}

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        with self.lock:
            self.looking += 1
        assert self.ends_go_on.wait(SECONDS)
        return {}

    def expect(self, positions: Any) -> AbstractContextManager[Future[None]]:
        applied: Future[None] = Future()
        applied.set_result(None)
        return nullcontext(applied)

    def collect(self) -> Iterable[Metric]:
        self.collected.set()
        assert self.go_on.wait(SECONDS)
        return []

    def get(self, view: Any, keys: Sequence[str]) -> list[Any]:
        raise FeaturesUnavailableError("away")


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def services(shop: Shop, catalogue: Catalogue, registry: CollectorRegistry) -> Services:
    model = SimpleNamespace(bundle_version=VERSION, table=[], signatures={RECOMMEND: shop})
    return Services(
        recommender=cast(Any, shop),
        holder=cast(Any, SimpleNamespace(current=model)),
        catalogue=catalogue,
        online=cast(Any, shop),
        log=cast(Any, shop),
        version="1.2.3",
        effects=Effects(shop, wait_seconds=0.2),
        registry=registry,
        health=Health(degraded=lambda: ["the store is away"]),
        http=HttpSettings(list_threads=2, list_queue=3, predict_threads=2, predict_queue=3),
    )


def open_client(services: Services) -> TestClient:
    return TestClient(create_app(services), raise_server_exceptions=False)


@pytest.fixture
def client(services: Services) -> TestClient:
    return open_client(services)


def test_who_would_wait_behind_too_many_is_told_when_to_come_back(
    client: TestClient, shop: Shop
) -> None:
    with client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.get, "/v1/trending") for _ in range(8)]
        for _, answer in zip(range(3), as_completed(asked, SECONDS), strict=False):
            turned_away = answer.result()
            assert turned_away.status_code == 503
            assert turned_away.headers["Retry-After"] == "1"
            assert "5 requests for lists" in turned_away.json()["detail"]
        assert client.get("/healthz").is_success
        shop.go_on.set()
        statuses = sorted(answer.result().status_code for answer in asked)
        assert statuses == [200] * 5 + [503] * 3
        assert client.get("/v1/trending").is_success


def test_who_waits_for_a_thread_waits_no_longer_for_a_log_than_who_has_one(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "APPEND_GRACE_SECONDS", 0.1)
    services = replace(services, append_seconds=0.1)
    with open_client(services) as client, ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(client.delete, "/v1/users/u1") for _ in range(MANY)]
        assert {answer.result(SECONDS / 2).status_code for answer in asked} == {503}
        assert "may be accepted" in asked[-1].result().json()["detail"]
        shop.go_on.set()
        # Whoever was told so before it began is not written behind the next try.
        assert client.delete("/v1/users/u1").is_success
    assert shop.appending == APPEND_THREADS + 1


@pytest.mark.parametrize(("remote", "threads"), [(False, 1), (True, REMOTE_LIST_THREADS)])
def test_several_lists_are_made_at_a_time_where_a_server_is_asked_for_features(
    services: Services, shop: Shop, remote: bool, threads: int
) -> None:
    """While one that hangs keeps a thread; where none can hang, more threads take longer."""
    services = replace(services, online_is_remote=remote, http=HttpSettings(list_queue=0))
    with open_client(services) as client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.get, "/v1/trending") for _ in range(8)]
        for _, answer in zip(range(8 - threads), as_completed(asked, SECONDS), strict=False):
            assert answer.result().status_code == 503
        shop.go_on.set()
        assert sum(answer.result().is_success for answer in asked) == threads


def test_a_call_of_the_model_that_would_wait_behind_too_many_is_told_so_too(
    client: TestClient, shop: Shop
) -> None:
    with client, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.post, PREDICT, json={"inputs": {}}) for _ in range(8)]
        for _, answer in zip(range(3), as_completed(asked, SECONDS), strict=False):
            turned_away = answer.result()
            assert turned_away.status_code == 503
            assert turned_away.headers["Retry-After"] == "1"
            (message,) = turned_away.json().values()
            assert message == "5 calls of the model are being worked on, or wait. Try again."
        shop.go_on.set()
        statuses = sorted(answer.result().status_code for answer in asked)
        assert statuses == [200] * 5 + [503] * 3
        assert client.post(PREDICT, json={"inputs": {}}).json() == {"outputs": [0.0]}


def plain(client: TestClient, size: int) -> Any:
    return client.post(PREDICT, content=b'{"inputs": {}}'.ljust(size))


def compressed(client: TestClient, size: int) -> Any:
    body = gzip.compress(b'{"inputs": {}}'.ljust(size))
    return client.post(PREDICT, content=body, headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize("call", [plain, compressed])
def test_large_bodies_have_together_no_more_bytes_than_one_may_have(
    services: Services, shop: Shop, call: Callable[[TestClient, int], Any]
) -> None:
    most = 2**20
    settings = TensorFlowServingSettings(max_message_bytes=most)
    services = replace(services, serving=ServingSettings(tensorflow_serving=settings))
    with open_client(services) as client, ThreadPoolExecutor(2) as pool:
        half = pool.submit(call, client, most // 2)
        wait_until(lambda: shop.predicting == 1, seconds=SECONDS)
        turned_away = call(client, most // 2 + 1)
        assert turned_away.status_code == 503
        assert turned_away.headers["Retry-After"] == "1"
        assert "Large bodies of 524288 bytes" in turned_away.json()["error"]
        small = pool.submit(call, client, FREE_BYTES)
        wait_until(lambda: shop.predicting == 2, seconds=SECONDS)
        shop.go_on.set()
        assert half.result().is_success
        assert small.result().is_success
        # Whatever becomes of it, a body counts no longer than it is in hand.
        for _ in range(3):
            assert call(client, most).is_success
            assert client.post(PREDICT, content=b" " * most).status_code == 400
            assert client.post(PREDICT, content=b" " * (most + 1)).status_code == 429


@pytest.mark.parametrize("most", [FREE_BYTES, 2**20, 2**23, 2**24])
def test_what_is_too_large_once_decompressed_is_not_to_be_sent_again(
    services: Services, shop: Shop, most: int
) -> None:
    shop.go_on.set()
    settings = TensorFlowServingSettings(max_message_bytes=most)
    services = replace(services, serving=ServingSettings(tensorflow_serving=settings))
    with open_client(services) as client:
        for size in (most + 1, 2 * most, 2**24 + 1):
            answer = compressed(client, size)
            assert answer.status_code == 429
            assert "Retry-After" not in answer.headers
            assert f"at most {min(most, MAX_GUNZIPPED_BYTES)} bytes" in answer.json()["error"]


def test_a_body_that_stalls_counts_no_longer_than_a_body_may_take(
    services: Services, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorflow_serving, "BODY_SECONDS", 0.5)
    shop.go_on.set()
    most, stopped = 2**20, threading.Event()
    settings = TensorFlowServingSettings(max_message_bytes=most)
    services = replace(services, serving=ServingSettings(tensorflow_serving=settings))
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    url = f"http://127.0.0.1:{address[1]}{PREDICT}"
    server = HttpServer(create_app(services), stopped.is_set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with socket.create_connection(address, timeout=SECONDS) as stalled:
            head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: {most}\r\n\r\n"
            stalled.sendall(head.encode() + b" " * (most - 1))
            answer = stalled.makefile("rb").read()  # to the end of the connection
            assert answer.startswith(b"HTTP/1.1 408 ")
            told = orjson.loads(answer.partition(b"\r\n\r\n")[2])
            assert told == {"error": "The body must be sent within 0.5 s."}
            assert httpx.post(url, content=b'{"inputs": {}}'.ljust(most)).is_success
    finally:
        stopped.set()
        thread.join()
        listening.close()


def test_a_model_that_takes_long_keeps_others_from_no_thread(
    client: TestClient, shop: Shop
) -> None:
    large = b"[" + b" " * THREADED_BYTES + b"]"
    with client, ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(client.post, PREDICT, json={"inputs": {}}) for _ in range(MANY)]
        time.sleep(0.2)
        assert client.get("/metrics").is_success
        assert client.get("/").is_success
        json = {"Content-Type": "application/json"}
        assert client.post("/v1/events", content=large, headers=json).is_success
        assert not all(answer.done() for answer in asked)
        shop.go_on.set()
        assert {answer.result().status_code for answer in asked} == {200, 503}


def test_who_waits_for_an_item_waits_no_longer_than_is_said(client: TestClient, shop: Shop) -> None:
    shop.go_on.set()
    with client, ThreadPoolExecutor(MANY) as pool:
        path = "/v1/items?wait=applied"
        posted = [pool.submit(client.post, path, json={"item_id": "i"}) for _ in range(MANY)]
        for answer in posted:
            assert answer.result(SECONDS / 2).status_code == 504
        assert client.get("/metrics").is_success
        # A thread that hangs stays, though nobody waits for it any more.
        assert shop.looking == ENDS_THREADS
        shop.ends_go_on.set()


def test_a_log_that_hangs_keeps_others_from_no_thread(client: TestClient, shop: Shop) -> None:
    event = {"user_id": "u", "item_id": "i", "event_type": "view"}
    with client, ThreadPoolExecutor(MANY) as pool:
        posted = [pool.submit(client.post, "/v1/events", json=event) for _ in range(MANY)]
        while shop.appending < APPEND_THREADS:
            time.sleep(0.01)
        assert client.get("/metrics").is_success
        shop.go_on.set()
        assert {answer.result().status_code for answer in posted} == {202}


def test_a_user_who_cannot_be_read_is_unavailable_and_not_unknown(client: TestClient) -> None:
    answer = client.get("/v1/users/u1")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["detail"] == "The online store cannot be read now. Try again."


def test_a_server_without_its_store_is_ready_and_says_what_lists_do_without(
    client: TestClient,
) -> None:
    answer = client.get("/readyz")
    assert answer.json() == {
        "status": "ready",
        "model_version": VERSION,
        "degraded": ["the store is away"],
    }


def test_metrics_that_take_long_hold_no_other_request_up(
    client: TestClient, shop: Shop, registry: CollectorRegistry
) -> None:
    registry.register(cast(Any, shop))
    with client, ThreadPoolExecutor(1) as pool:
        metrics = pool.submit(client.get, "/metrics")
        assert shop.collected.wait(SECONDS)
        assert client.get("/healthz").is_success
        shop.go_on.set()
        assert metrics.result().is_success


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/v1/events", {"user_id": "", "query": "x"}),
        ("/v1/items", {"item_id": "", "title": "x"}),
        ("/v1/users", {"user_id": "", "attributes": {"a": "x"}}),
        ("/v1/recommend", {"user_id": "", "filter": "x"}),
    ],
)
def test_a_large_body_is_read_beside_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str, record: dict[str, Any]
) -> None:
    threads: list[str] = []

    def seen(error: Any) -> list[FieldError]:
        threads.append(threading.current_thread().name)
        return field_errors(error)

    monkeypatch.setattr("serving.http.body.field_errors", seen)
    spaces = b" " * THREADED_BYTES
    for body in (orjson.dumps(record), orjson.dumps(record) + spaces):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
    small, large = threads
    assert "worker" not in small
    assert "worker" in large


def test_a_page_of_the_catalogue_is_written_beside_the_event_loop(
    client: TestClient, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [Item(item_id=f"i{number}", description="x" * 1_000) for number in range(3)]
    catalogue.upsert(items)
    threads: list[str] = []
    written = orjson.dumps

    def dumps(answer: Any) -> bytes:
        threads.append(threading.current_thread().name)
        return written(answer)

    monkeypatch.setattr("serving.http.recommendations.orjson.dumps", dumps)
    answer = client.get("/v1/items")
    assert answer.json() == {"total": 3, "items": [item.model_dump(mode="json") for item in items]}
    (thread,) = threads
    assert thread.startswith("lists")
