"""Routes that accept events, items and users: durable in the log before they are answered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Generic, TypeVar
from uuid import uuid4

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    USERS,
    EventLogError,
    Message,
    TopicPartition,
)
from feature_repo.log_records import encode_record
from feature_repo.schema import Event
from feature_repo.times import INSTANT
from serving.http.body import parse_records, read_body, reading, refuse_repeated, validate_record
from serving.http.bounded_threads import BoundedThreads
from serving.http.documentation import body_of, problems
from serving.http.models import (
    EVENT,
    ITEM,
    USER,
    AcceptedAnswer,
    EventBody,
    ItemBody,
    ItemId,
    Rejection,
    UserBody,
    UserId,
    WaitQuery,
)
from serving.http.problems import MAX_ERRORS, FieldError, Problem, future_error, unprocessable
from serving.http.services import Acceptance, Effects, Services
from serving.source_shares import SourceShares

Wait = Annotated[WaitQuery, Query()]
ModelT = TypeVar("ModelT", bound=BaseModel)
LOOK_SECONDS = 0.002
APPEND_THREADS = 40
"""Together they share one fsync."""
APPEND_QUEUE = 1_000
"""Bounded, since the bodies of all waiting requests are in memory while a log hangs."""
APPEND_GRACE_SECONDS = 1.0
"""So much later than the log itself, which says why, a request gives up."""
ENDS_THREADS = 4
"""A Kafka answers requests for its end offsets one at a time."""
ENDS_QUEUE = 1_000


class _Log:
    """Uses the log of `services` in threads of its own, so that the event loop never waits."""

    def __init__(self, services: Services) -> None:
        self._services = services
        most = services.append_seconds
        self._seconds = None if most is None else most + APPEND_GRACE_SECONDS
        self._appends = BoundedThreads(
            "appends", "requests to the log", APPEND_THREADS, APPEND_QUEUE, self._seconds
        )
        self._ends = BoundedThreads("ends", "looks at the log's end", ENDS_THREADS, ENDS_QUEUE)

    async def append(self, topic: str, messages: Sequence[Message], query: WaitQuery) -> None:
        """Make `messages` durable and, if asked, wait until they have taken effect."""
        if not messages:
            return
        effects = self._services.effects
        if query.wait is None:
            await self._appended(topic, messages)
            return
        if effects is None:
            message = "needs the worker in this process, as `riverrun up` has it."
            raise unprocessable([FieldError(field="wait", message=message, value="applied")])
        positions = await self._appended(topic, messages)
        try:
            async with asyncio.timeout(effects.wait_seconds):
                with effects.applied.expect(positions) as applied:
                    await asyncio.wrap_future(applied)
                if topic == ITEMS:
                    await self._indexed(effects)
        except TimeoutError:
            raise Problem(
                504,
                f"Accepted and durable, but not applied here within {effects.wait_seconds:g} s.",
            ) from None

    async def _appended(
        self, topic: str, messages: Sequence[Message]
    ) -> Mapping[TopicPartition, int]:
        try:
            return await self._appends.run(self._services.log.append, topic, messages)
        except TimeoutError:
            raise EventLogError(f"has not answered within {self._seconds:g} s.") from None

    async def _indexed(self, effects: Effects) -> None:
        """Wait until lists reflect all item changes that the worker has published so far.

        The index follows the worker within milliseconds, in a thread of its own.
        """
        published = await self._ends.run(self._services.log.ends, [ITEM_EMBEDDINGS])
        while not effects.indexed(published):
            await asyncio.sleep(LOOK_SECONDS)


def ingest_routes(services: Services, shares: SourceShares) -> APIRouter:
    """Return the routes over `services`; events that name a list count in `shares`."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(refuse_repeated)])
    log = _Log(services)
    read_events = partial(_read_events, services.acceptance, services.clock)

    def accepting(*statuses: int) -> dict[str, Any]:
        return {
            "status_code": 202,
            "response_model": AcceptedAnswer,
            "responses": problems(*statuses, 422, 500, 503, 504),
        }

    async def upsert(
        topic: str,
        model: type[ItemBody] | type[UserBody],
        key: str,
        request: Request,
        query: WaitQuery,
    ) -> Response:
        max_bytes = services.acceptance.max_record_bytes
        read = await reading(
            await read_body(request), partial(_read_records, model, key, max_bytes)
        )
        await log.append(topic, read.messages, query)
        return _accepted(len(read.records), read.duplicates, read.rejected)

    posted = accepting(400, 413, 415)

    @router.post("/events", tags=["events"], openapi_extra=body_of(EventBody, EVENT), **posted)
    async def post_events(request: Request, query: Wait) -> Response:
        """Accept what users did: one event, or an array of up to 1,000.

        Each record stands for itself: good ones are accepted, the others listed with the
        reason; where none is good, that is the problem. An `event_id` makes a repeated request
        harmless. With `wait=applied` the answer comes once the next list reflects the events.
        """
        read = await reading(await read_body(request), read_events)
        await log.append(EVENTS, read.messages, query)
        for event in read.records:
            if event.request_id is not None:
                shares.acted(event.request_id, event.item_id, event.event_type)
        event_ids = [event.event_id for event in read.records]
        return _accepted(len(event_ids), read.duplicates, read.rejected, event_ids)

    @router.post("/items", tags=["items"], openapi_extra=body_of(ItemBody, ITEM), **posted)
    async def post_items(request: Request, query: Wait) -> Response:
        """Insert or replace items. With `wait=applied` they can be retrieved once answered.

        Of several records with one id the last counts.
        """
        return await upsert(ITEMS, ItemBody, "item_id", request, query)

    @router.post("/users", tags=["users"], openapi_extra=body_of(UserBody, USER), **posted)
    async def post_users(request: Request, query: Wait) -> Response:
        """Insert or replace what is known of users besides their events."""
        return await upsert(USERS, UserBody, "user_id", request, query)

    @router.delete("/items/{item_id:shown_id}", tags=["items"], **accepting())
    async def delete_item(item_id: ItemId, query: Wait) -> Response:
        """Remove an item; it is never shown again. An unknown id is no error."""
        await log.append(ITEMS, [Message(item_id, None)], query)
        return _accepted(1, 0, [])

    @router.delete("/users/{user_id:id}", tags=["users"], **accepting())
    async def delete_user(user_id: UserId, query: Wait) -> Response:
        """Erase a user everywhere: profile, history, embedding and archive."""
        await log.append(USERS, [Message(user_id, None)], query)
        return _accepted(1, 0, [])

    return router


@dataclass(frozen=True, slots=True, eq=False)
class _Read(Generic[ModelT]):
    """A body that was read: good records, each once, their messages, and what ails the others."""

    records: Sequence[ModelT]
    messages: Sequence[Message]
    duplicates: int
    rejected: Sequence[Rejection]


def _read_events(
    acceptance: Acceptance, clock: Callable[[], datetime], body: bytes
) -> _Read[Event]:
    events, rejected = _valid(EventBody, parse_records(body), acceptance.max_record_bytes)
    now = clock()
    unique: dict[tuple[str, str], Event] = {}
    accepted = 0
    for index, each in events:
        # Events without a time are a microsecond apart, in the order of the array.
        event = _event(each, now + index * INSTANT)
        if error := _not_acceptable(acceptance, event, now):
            rejected.append(Rejection(index=index, error=error))
        else:
            accepted += 1
            # Of a user's equal event ids the first counts, as it does in the history.
            unique.setdefault((event.user_id, event.event_id), event)
    _refuse_if_nothing_is_good(accepted, rejected)
    messages = [Message(event.user_id, encode_record(event)) for event in unique.values()]
    return _Read([*unique.values()], messages, accepted - len(unique), rejected)


def _read_records(
    model: type[ItemBody] | type[UserBody], key: str, max_bytes: int, body: bytes
) -> _Read[ItemBody | UserBody]:
    records, rejected = _valid(model, parse_records(body), max_bytes)
    _refuse_if_nothing_is_good(len(records), rejected)
    unique = {getattr(record, key): record for _, record in records}
    messages = [Message(id_, encode_record(record)) for id_, record in unique.items()]
    return _Read([*unique.values()], messages, len(records) - len(unique), rejected)


def _valid(
    model: type[ModelT], records: Sequence[Any], max_bytes: int
) -> tuple[list[tuple[int, ModelT]], list[Rejection]]:
    """Return the good records with their places, and the first error of each of the others."""
    valid: list[tuple[int, ModelT]] = []
    rejected: list[Rejection] = []
    for index, record in enumerate(records):
        read = validate_record(model, record, max_bytes)
        if isinstance(read, list):
            rejected.append(Rejection(index=index, error=read[0]))
        else:
            valid.append((index, read))
    return valid, rejected


def _event(body: EventBody, now: datetime) -> Event:
    # All fields have been validated, and the two defaults need not be.
    fields = dict(body)
    fields["event_id"] = body.event_id or uuid4().hex
    fields["timestamp"] = body.timestamp or now
    return Event.model_construct(**fields)


def _not_acceptable(acceptance: Acceptance, event: Event, now: datetime) -> FieldError | None:
    if error := future_error("timestamp", event.timestamp, now, acceptance.max_future):
        return error
    if acceptance.event_types and event.event_type not in acceptance.event_types:
        message = f"must be one of {', '.join(sorted(acceptance.event_types))}."
        return FieldError(field="event_type", message=message, value=event.event_type)
    return None


def _refuse_if_nothing_is_good(accepted: int, rejected: Sequence[Rejection]) -> None:
    if rejected and not accepted:
        raise unprocessable(
            [
                each.error.model_copy(update={"field": f"{each.index}.{each.error.field}"})
                for each in sorted(rejected, key=lambda each: each.index)[:MAX_ERRORS]
            ]
        )


def _accepted(
    accepted: int,
    duplicates: int,
    rejected: Sequence[Rejection],
    event_ids: Sequence[str] | None = None,
) -> Response:
    answer = {
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": [
            {
                "index": each.index,
                "error": each.error.model_dump(),
            }
            for each in sorted(rejected, key=lambda each: each.index)
        ],
    }
    if event_ids is not None:
        answer["event_ids"] = list(event_ids)
    return Response(orjson.dumps(answer), 202, media_type="application/json")
