"""The clients against servers that fail: what is sent again, after which pause, what never is."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.client import (
    AsyncClient,
    Client,
    EventBody,
    InvalidRequestError,
    Item,
    NotFoundError,
    ProblemError,
    Retries,
    ServerFailedError,
    UnavailableError,
    UnexpectedAnswerError,
    UnreachableError,
    User,
)
from riverrun.client.retries import retry_after
from serving.http.problems import Problem, problem_response

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URL = "http://shop.test"


class Sent(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is decoded only where the client reads it, as one that comes by a socket."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class Answers:
    """Answers requests in turn, with a response or an error, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = iter(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def call(self, kind: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a client of this kind over these answers."""
        transport = httpx.MockTransport(self)
        shared: dict[str, Any] = {"random": Random(7), "clock": lambda: NOW}
        if kind == "sync":
            client = Client(URL, transport=transport, sleep=self.pauses.append, **shared)
            with client:
                return getattr(client, method)(*args, **kwargs)

        async def called() -> Any:
            async with AsyncClient(URL, transport=transport, sleep=self.pause, **shared) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(called())


ALIVE = {"status": "alive"}
ACCEPTED = {"accepted": 1, "event_ids": ["given"]}
both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
def test_a_call_is_sent_again_until_it_is_answered(kind: str) -> None:
    answers = Answers(
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.Response(503, headers={"retry-after": "2"}),
        httpx.Response(200, json=ALIVE),
    )
    assert answers.call(kind, "healthz").status == "alive"
    assert len(answers.requests) == 4
    first, second, third = answers.pauses
    assert 0 <= first <= 0.1
    assert 0 <= second <= 0.2
    assert third == 2


@both
def test_an_event_keeps_its_id_when_it_is_sent_again(kind: str) -> None:
    answers = Answers(httpx.ReadError("cut off"), httpx.Response(202, json=ACCEPTED))
    events = [
        EventBody(user_id="u", item_id="i", event_type="view"),
        EventBody(event_id="given", user_id="u", item_id="i", event_type="view"),
    ]
    answers.call(kind, "post_events", events)
    first, second = (request.content for request in answers.requests)
    assert first == second
    sent, given_ = httpx.Response(200, content=first).json()
    assert len(sent["event_id"]) == 32
    assert given_["event_id"] == "given"


@both
@pytest.mark.parametrize(
    ("status", "attempts", "kind_of_error"),
    [
        (400, 1, InvalidRequestError),
        (404, 1, NotFoundError),
        (422, 1, InvalidRequestError),
        (500, 1, ServerFailedError),
        (429, 4, UnavailableError),
        (503, 4, UnavailableError),
        (504, 4, UnavailableError),
        (599, 1, ServerFailedError),
    ],
)
def test_what_cannot_help_is_not_sent_again(
    kind: str, status: int, attempts: int, kind_of_error: type[ProblemError]
) -> None:
    answers = Answers(*(httpx.Response(status, text="<html>") for _ in range(attempts)))
    with pytest.raises(kind_of_error) as caught:
        answers.call(kind, "trending")
    assert len(answers.requests) == attempts
    assert caught.value.status == status
    assert caught.value.detail == "<html>"


ITEM = Item(item_id="i")
EVENT = EventBody(user_id="u", item_id="i", event_type="view")
WAITING: list[tuple[str, object]] = [
    ("post_events", [EVENT]),
    ("post_items", [ITEM]),
    ("post_users", [User(user_id="u")]),
    ("delete_item", "i"),
    ("delete_user", "u"),
]


@both
@pytest.mark.parametrize(("method", "sent"), WAITING)
def test_what_the_server_has_accepted_is_not_sent_again(
    kind: str, method: str, sent: object
) -> None:
    """It would undo what others have sent since: the price of an item, clicks after an erasure."""
    late = problem_response(Problem(504, "Accepted and durable, but not applied here within 10 s."))
    answer = httpx.Response(504, content=late.body, headers=dict(late.headers))
    answers = Answers(answer)
    with pytest.raises(UnavailableError, match="Accepted and durable") as caught:
        answers.call(kind, method, sent, wait="applied")
    assert caught.value.status == 504
    assert len(answers.requests) == 1


@both
@pytest.mark.parametrize(("method", "sent"), WAITING)
def test_a_proxy_that_has_waited_too_long_has_accepted_nothing(
    kind: str, method: str, sent: object
) -> None:
    late = httpx.Response(504, text="<html>", headers={"content-type": "text/html"})
    answers = Answers(late, httpx.Response(202, json=ACCEPTED))
    assert answers.call(kind, method, sent, wait="applied").accepted == 1
    assert len(answers.requests) == 2


@both
def test_an_answer_that_is_broken_on_the_way_is_asked_for_again(kind: str) -> None:
    def broken() -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Sent(b"no gzip"))

    answers = Answers(broken(), httpx.Response(200, json=ALIVE))
    assert answers.call(kind, "healthz").status == "alive"
    answers = Answers(*(broken() for _ in range(4)))
    with pytest.raises(UnreachableError, match="GET /healthz: no answer in 4 attempts: ") as caught:
        answers.call(kind, "healthz")
    assert isinstance(caught.value.__cause__, httpx.DecodingError)


@both
def test_a_server_that_asks_for_long_patience_is_not_asked_again(kind: str) -> None:
    answers = Answers(httpx.Response(503, headers={"retry-after": "3600"}))
    with pytest.raises(UnavailableError):
        answers.call(kind, "trending")


@both
def test_no_answer_at_all_names_the_last_reason(kind: str) -> None:
    answers = Answers(*(httpx.ConnectError("refused") for _ in range(4)))
    with pytest.raises(UnreachableError, match="GET /healthz: no answer in 4 attempts: refused"):
        answers.call(kind, "healthz")


@both
@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"status":"asleep"}'])
def test_an_answer_that_does_not_fit_is_refused(kind: str, content: bytes) -> None:
    answers = Answers(httpx.Response(200, content=content))
    with pytest.raises(UnexpectedAnswerError, match="GET /healthz"):
        answers.call(kind, "healthz")


@given(attempt=st.integers(1, 20), drawn=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_up_to_a_bound(attempt: int, drawn: float) -> None:
    retries = Retries(attempts=10, first_seconds=0.5, longest_seconds=4)
    pause = retries.pause(attempt, drawn)
    if attempt >= 10:
        assert pause is None
    else:
        assert pause == drawn * min(4, 0.5 * 2 ** (attempt - 1))


@pytest.mark.parametrize("attempt", [1_024, 1_025, 100_000])
def test_after_however_many_attempts_the_pause_is_the_longest(attempt: int) -> None:
    retries = Retries(attempts=10**6, first_seconds=0.1, longest_seconds=4)
    assert retries.pause(attempt, 0.5) == 2
    assert Retries(attempts=10**6, first_seconds=0).pause(attempt, 0.5) == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:04:15 -0000", 10.0),
        ("Fri, 02 Jan 2020 00:00:00 GMT", 0.0),
        ("soon", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Fri, 02 Jan 2026 03:04:15 +9999999", None),
        ("Mon Jan  1 00:00:00 2026 -99999999999999", None),
        ("9" * 400, float("inf")),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, NOW) == seconds


@pytest.mark.parametrize(
    "field", [{"attempts": 0}, {"first_seconds": -1.0}, {"longest_seconds": float("nan")}]
)
def test_retries_that_make_no_sense_are_refused(field: dict[str, Any]) -> None:
    (name,) = field
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        Retries(**field)


def test_the_client_needs_no_tensorflow() -> None:
    script = "import sys, riverrun.client; sys.exit(int('tensorflow' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_calls_awaited_together_take_turns_and_wait_for_them_as_long_as_it_takes() -> None:
    at_work, most = 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal at_work, most
        assert request.extensions["timeout"]["pool"] is None
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1
        return httpx.Response(200, json=ALIVE)

    async def call_all() -> list[object]:
        async with AsyncClient(URL, transport=httpx.MockTransport(answer), concurrency=4) as client:
            return await asyncio.gather(*(client.healthz() for _ in range(50)))

    assert len(asyncio.run(call_all())) == 50
    assert most == 4


@both
def test_an_error_without_a_text_is_named(kind: str) -> None:
    answers = Answers(*[httpx.ReadTimeout("")] * 4)
    with pytest.raises(UnreachableError, match="in 4 attempts: ReadTimeout"):
        answers.call(kind, "healthz")
