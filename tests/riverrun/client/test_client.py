"""The clients against a whole shop in this process."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from riverrun.client import (
    AsyncClient,
    Client,
    EventBody,
    InvalidRequestError,
    Item,
    NotFoundError,
    User,
    calls,
)
from tests.support.tiny_shop import tiny_shop

Call = Callable[[], object]
LARGE = Item(item_id="i", description="x" * 16_384)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://shop.test"


class Blocking:
    """An `AsyncClient` whose methods are run to their end, so that one test checks both."""

    def __init__(self, client: AsyncClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))


class InProcess(httpx.BaseTransport):
    """Carries the requests of a blocking client to an application in this process."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self._transport = httpx.ASGITransport(app)
        self._runner = runner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._runner.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home = tmp_path_factory.mktemp("shop")
    with (
        tiny_shop(home) as shop,
        asyncio.Runner() as runner,
        Client(URL, transport=InProcess(shop.app, runner)) as client,
    ):
        asynchronous = AsyncClient(URL, transport=httpx.ASGITransport(shop.app))
        yield {"sync": client, "async": Blocking(asynchronous, runner)}
        runner.run(asynchronous.close())


@pytest.fixture(params=["sync", "async"])
def shop(clients: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    return clients[request.param]


def test_every_operation_answers(shop: Any) -> None:
    user_id, item_id = f"u-{uuid4().hex}", f"café/../{uuid4().hex}"
    assert shop.healthz().status == "alive"
    version = shop.readyz().model_version
    item = Item(item_id=item_id, title="kettles of copper", price=12.5)
    assert shop.post_items([item], wait="applied").accepted == 1
    assert shop.item(item_id) == item
    total = shop.items(limit=1).total
    assert [item_id] == [item.item_id for item in shop.items(offset=total - 1).items]
    assert len(shop.similar(item_id, limit=3, filter="price < 50").items) == 3
    profile = User(user_id=user_id, attributes={"country": "FR"})
    assert shop.post_users([profile], wait="applied").accepted == 1
    events = [EventBody(user_id=user_id, item_id="i1", event_type="view", timestamp=NOW)]
    accepted = shop.post_events(events, wait="applied")
    (past,) = shop.user(user_id).history
    assert [past.event_id] == accepted.event_ids
    assert past.timestamp == NOW
    answer = shop.recommend(user_id=user_id, limit=3, exclude_seen=["view"], explain=True)
    assert answer.model_version == version
    assert "because you viewed" in answer.items[0].reason
    assert len(shop.trending(category="kettles", limit=2).items) == 2
    assert "riverrun_http_request_seconds" in shop.metrics()
    assert shop.delete_user(user_id, wait="applied").accepted == 1
    assert shop.delete_item(item_id, wait="applied").accepted == 1
    with pytest.raises(NotFoundError):
        shop.item(item_id)


@pytest.mark.parametrize("item_id", [".", "..", "a/b", "100%", "a?b#c", "späť ☂", "a+b&c=d"])
def test_any_id_reaches_its_item(shop: Any, item_id: str) -> None:
    shop.post_items([Item(item_id=item_id)], wait="applied")
    assert shop.item(item_id).item_id == item_id
    shop.delete_item(item_id)


def test_a_problem_is_an_error_with_its_fields(shop: Any) -> None:
    with pytest.raises(InvalidRequestError, match="colour_of_the_moon") as caught:
        shop.recommend(filter="colour_of_the_moon = 1")
    assert caught.value.status == 422
    assert caught.value.operation == "POST /v1/recommend"
    assert [error.field for error in caught.value.errors] == ["filter"]


@pytest.mark.parametrize(
    "name", ["exclude_seen", "exclude_item_ids", "context_item_ids", "session", "sources"]
)
def test_one_string_is_no_list(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be a list, .* Received: 'ease'"):
        calls.recommend(**{name: "ease"})  # type: ignore[arg-type]


REFUSED: list[tuple[Call, str]] = [
    *(
        (build, message)
        for call in (calls.item, calls.similar, calls.user, calls.delete_item, calls.delete_user)
        for build, message in (
            (partial(call, ""), "_id\n  String should have at least 1 character"),
            (partial(call, "a" * 129), "_id\n  String should have at most 128 characters"),
            (partial(call, "a\nb"), "_id\n  Value error, must be printable"),
        )
    ),
    (partial(calls.item, "a/similar"), "item_id\n  .*must not end in '/similar'"),
    (partial(calls.delete_item, "a/similar"), "item_id\n  .*must not end in '/similar'"),
    *(
        (partial(call, value, wait="soon"), "wait\n  Input should be 'applied'")
        for call, value in (
            (calls.post_events, []),
            (calls.post_items, []),
            (calls.post_users, []),
            (calls.delete_item, "a"),
            (calls.delete_user, "a"),
        )
    ),
    (partial(calls.post_users, [User(user_id="u")] * 1001), "1000 records .* Received: 1001"),
    (partial(calls.post_items, [LARGE] * 520), "8388608 bytes at a time. Received: 8"),
]


@pytest.mark.parametrize(("build", "message"), REFUSED)
def test_what_any_server_would_refuse_is_not_sent(build: Call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("method", "path", "records"),
    [
        ("GET", "/v1/items/%0A", None),
        ("GET", f"/v1/items/{'a' * 129}/similar", None),
        ("GET", f"/v1/users/{'a' * 129}", None),
        ("DELETE", "/v1/items/a%2Fsimilar", None),
        ("DELETE", "/v1/users/u?wait=soon", None),
        ("POST", "/v1/items?wait=soon", [{"item_id": "i"}]),
        ("POST", "/v1/users", [{"user_id": "u"}] * 1001),
        ("POST", "/v1/items", [LARGE.model_dump(mode="json")] * 520),
    ],
)
def test_what_is_not_sent_any_server_would_refuse(
    clients: dict[str, Any], method: str, path: str, records: Any
) -> None:
    answer = clients["sync"]._http.request(method, path, json=records)
    assert answer.is_client_error


@pytest.mark.parametrize("number", [0, 1000])
def test_as_many_records_as_a_server_takes_are_sent(number: int) -> None:
    sent = calls.post_users([User(user_id=f"u{n}") for n in range(number)], wait="applied")
    assert len(httpx.Response(200, content=sent.content).json()) == number
    assert sent.query == {"wait": "applied"}
    assert calls.delete_user("u").query == {}


@pytest.mark.parametrize("concurrency", [0, -1])
def test_a_client_that_could_send_nothing_is_refused(concurrency: int) -> None:
    with pytest.raises(ValueError, match=rf"`concurrency` .* Received: {concurrency}\."):
        AsyncClient(URL, concurrency=concurrency)
