"""The two clients: they send the calls of `riverrun.client.calls`, again where that may help."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from functools import wraps
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from riverrun.client import calls
from riverrun.client.calls import Call, Wait
from riverrun.client.exchange import Exchange, Outcome
from riverrun.client.retries import Retries
from serving.http.models import AcceptedAnswer, EventBody

P = ParamSpec("P")
AnswerT = TypeVar("AnswerT")

TIMEOUT_SECONDS = 15.0
"""A little longer than the server waits for `wait="applied"`."""
CONCURRENCY = 32
"""More at a time keep a server no busier, and each waits the longer."""


def _now() -> datetime:
    return datetime.now(UTC)


def _timeouts(seconds: float) -> httpx.Timeout:
    # Whoever waits for a connection waits for the client's other calls, which end in time.
    return httpx.Timeout(seconds, pool=None)


def _sent(build: Callable[P, Call[AnswerT]]) -> Callable[Concatenate["Client", P], AnswerT]:
    @wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> AnswerT:
        return self.send(build(*args, **kwargs))

    return method


def _awaited(
    build: Callable[P, Call[AnswerT]],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, AnswerT]]:
    @wraps(build)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AnswerT:
        return await self.send(build(*args, **kwargs))

    return method


class Client:
    """Calls the API at `base_url`; use it as a context manager, or `close` it.

    Each method is documented, with its arguments, in `riverrun.client.calls`, and raises what
    `riverrun.client.errors` draws. Safe for use by many threads.

    Args:
        base_url: "http://127.0.0.1:8080".
        timeout: seconds to connect, and between two parts of an answer.
        transport: what carries the requests; `httpx.MockTransport` in tests.
        retries: how often, and after which pauses, a call is sent again.
        random: draws event ids and pauses. sleep, clock: wait, and tell the time.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
        retries: Retries | None = None,
        random: Random | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._http = httpx.Client(
            base_url=base_url, timeout=_timeouts(timeout), transport=transport
        )
        self._retries = retries or Retries()
        self._random = random or SystemRandom()
        self._sleep = sleep
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """Send a call until it has an answer or `retries` end, and return its result."""
        exchange = Exchange(call, self._retries, self._random, self._clock)
        while (pause := exchange.pause_after(outcome := self._attempt(call))) is not None:
            self._sleep(pause)
        return exchange.result(outcome)

    def post_events(
        self, events: Sequence[EventBody], *, wait: Wait | None = None
    ) -> AcceptedAnswer:
        """Accept what users did. An event without an id is given one."""
        return self.send(calls.post_events(calls.identified(events, self._random), wait=wait))

    post_items = _sent(calls.post_items)
    post_users = _sent(calls.post_users)
    delete_item = _sent(calls.delete_item)
    delete_user = _sent(calls.delete_user)
    recommend = _sent(calls.recommend)
    similar = _sent(calls.similar)
    trending = _sent(calls.trending)
    items = _sent(calls.items)
    item = _sent(calls.item)
    user = _sent(calls.user)
    healthz = _sent(calls.healthz)
    readyz = _sent(calls.readyz)
    metrics = _sent(calls.metrics)

    def _attempt(self, call: Call[Any]) -> Outcome:
        try:
            return self._http.send(call.request(self._http))
        except httpx.RequestError as error:
            return error


class AsyncClient:
    """`Client` for asyncio: the same arguments and methods, which are awaited.

    concurrency: requests sent at a time. Any number of calls may be awaited together, as by
    `asyncio.gather`: the rest wait for their turn.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
        concurrency: int = CONCURRENCY,
        retries: Retries | None = None,
        random: Random | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"`concurrency` must be at least 1. Received: {concurrency}.")
        self._http = httpx.AsyncClient(
            base_url=base_url, timeout=_timeouts(timeout), transport=transport
        )
        # httpx's own bound keeps what waits in a list that it looks through at every turn.
        self._turns = asyncio.Semaphore(concurrency)
        self._retries = retries or Retries()
        self._random = random or SystemRandom()
        self._sleep = sleep
        self._clock = clock

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """Send a call until it has an answer or `retries` end, and return its result."""
        exchange = Exchange(call, self._retries, self._random, self._clock)
        while (pause := exchange.pause_after(outcome := await self._attempt(call))) is not None:
            await self._sleep(pause)
        return exchange.result(outcome)

    async def post_events(
        self, events: Sequence[EventBody], *, wait: Wait | None = None
    ) -> AcceptedAnswer:
        """Accept what users did. An event without an id is given one."""
        call = calls.post_events(calls.identified(events, self._random), wait=wait)
        return await self.send(call)

    post_items = _awaited(calls.post_items)
    post_users = _awaited(calls.post_users)
    delete_item = _awaited(calls.delete_item)
    delete_user = _awaited(calls.delete_user)
    recommend = _awaited(calls.recommend)
    similar = _awaited(calls.similar)
    trending = _awaited(calls.trending)
    items = _awaited(calls.items)
    item = _awaited(calls.item)
    user = _awaited(calls.user)
    healthz = _awaited(calls.healthz)
    readyz = _awaited(calls.readyz)
    metrics = _awaited(calls.metrics)

    async def _attempt(self, call: Call[Any]) -> Outcome:
        try:
            async with self._turns:
                return await self._http.send(call.request(self._http))
        except httpx.RequestError as error:
            return error
