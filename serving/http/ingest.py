"""Routes that accept events, items and users: durable in the log before they are answered."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import orjson
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from feature_repo.event_log import EVENTS, ITEMS, USERS, Message
from feature_repo.schema import Event, Item, User
from serving.http.body import parse_records, read_body, validate_record
from serving.http.documentation import body_of, problems
from serving.http.models import AcceptedAnswer, EventBody, Rejection, WaitQuery
from serving.http.problems import FieldError, Problem, field_errors, shown
from serving.http.services import Services

Wait = Annotated[WaitQuery, Query()]
Id = Annotated[str, Path(min_length=1, max_length=128)]
ModelT = TypeVar("ModelT", bound=BaseModel)


def ingest_routes(services: Services) -> APIRouter:
    """Return the routes over `services`."""
    router = APIRouter(prefix="/v1")
    accepted: dict[str, Any] = {
        "status_code": 202,
        "response_model": AcceptedAnswer,
        "responses": problems(400, 413, 415, 422, 504),
    }

    @router.post("/events", tags=["events"], openapi_extra=body_of(EventBody), **accepted)
    async def post_events(request: Request, query: Wait) -> Response:
        """Accept what users did: one event, or an array of up to 1,000.

        Each record stands for itself: good ones are accepted, the others listed with the
        reason. An `event_id` makes a repeated request harmless. With `wait=applied` the answer
        comes once the next list reflects the events.
        """
        records = parse_records(await read_body(request))
        events, rejected = _valid_events(services, records)
        unique = {event.event_id: event for event in events}
        messages = [
            Message(event.user_id, event.model_dump_json(exclude_none=True).encode())
            for event in unique.values()
        ]
        await _append(services, EVENTS, messages, list(unique), query)
        return _accepted(len(unique), len(events) - len(unique), rejected, list(unique))

    @router.post("/items", tags=["items"], openapi_extra=body_of(Item), **accepted)
    async def post_items(request: Request, query: Wait) -> Response:
        """Insert or replace items. With `wait=applied` they can be retrieved once answered."""
        records = parse_records(await read_body(request))
        items, rejected = _valid(Item, records)
        unique = {item.item_id: item for item in items}
        messages = [Message(key, item.model_dump_json().encode()) for key, item in unique.items()]
        await _append(services, ITEMS, messages, list(unique), query)
        return _accepted(len(unique), len(items) - len(unique), rejected)

    @router.post("/users", tags=["users"], openapi_extra=body_of(User), **accepted)
    async def post_users(request: Request, query: Wait) -> Response:
        """Insert or replace what is known of users besides their events."""
        records = parse_records(await read_body(request))
        users, rejected = _valid(User, records)
        unique = {user.user_id: user for user in users}
        messages = [Message(key, user.model_dump_json().encode()) for key, user in unique.items()]
        await _append(services, USERS, messages, list(unique), query)
        return _accepted(len(unique), len(users) - len(unique), rejected)

    @router.delete("/items/{item_id}", tags=["items"], **accepted)
    async def delete_item(item_id: Id, query: Wait) -> Response:
        """Remove an item; it is never shown again. An unknown id is no error."""
        await _append(services, ITEMS, [Message(item_id, None)], [item_id], query)
        return _accepted(1, 0, [])

    @router.delete("/users/{user_id}", tags=["users"], **accepted)
    async def delete_user(user_id: Id, query: Wait) -> Response:
        """Erase a user everywhere: profile, history, embedding and archive."""
        await _append(services, USERS, [Message(user_id, None)], [user_id], query)
        return _accepted(1, 0, [])

    return router


def _valid_events(
    services: Services, records: Sequence[Any]
) -> tuple[list[Event], list[Rejection]]:
    bodies, rejected = _valid(EventBody, records, keep_index=True)
    now = services.clock()
    events = []
    for index, body in bodies:
        timestamp = body.timestamp or now
        if timestamp > now + services.max_future:
            message = f"must be at most {services.max_future} ahead of the server's clock."
            rejected.append(_rejection(index, "timestamp", message, timestamp.isoformat()))
        elif services.event_types and body.event_type not in services.event_types:
            message = f"must be one of {', '.join(sorted(services.event_types))}."
            rejected.append(_rejection(index, "event_type", message, body.event_type))
        else:
            # Every field has been validated; only the defaults are new.
            fields = dict(body) | {
                "event_id": body.event_id or uuid4().hex,
                "timestamp": timestamp,
            }
            events.append(Event.model_construct(**fields))
    return events, sorted(rejected, key=lambda rejection: rejection.index)


def _valid(
    model: type[ModelT], records: Sequence[Any], *, keep_index: bool = False
) -> tuple[list[Any], list[Rejection]]:
    valid: list[Any] = []
    rejected = []
    for index, record in enumerate(records):
        try:
            body = validate_record(model, record)
        except ValidationError as error:
            errors = field_errors(error.errors(include_url=False, include_context=False))
            rejected.append(Rejection(index=index, error=errors[0]))
        else:
            valid.append((index, body) if keep_index else body)
    return valid, rejected


def _rejection(index: int, name: str, message: str, value: str) -> Rejection:
    return Rejection(index=index, error=FieldError(field=name, message=message, value=value))


async def _append(
    services: Services,
    topic: str,
    messages: Sequence[Message],
    ids: Sequence[str],
    query: WaitQuery,
) -> None:
    if not messages:
        return
    if query.wait is None:
        await run_in_threadpool(services.log.append, topic, messages)
        return
    if services.applied is None:
        wait = FieldError(
            field="wait", message="needs the worker in this process.", value="applied"
        )
        raise Problem(422, "`wait`: needs the worker in this process: `riverrun up`.", [wait])
    with services.applied.expect(topic, ids) as applied:
        await run_in_threadpool(services.log.append, topic, messages)
        try:
            await asyncio.wait_for(asyncio.wrap_future(applied), services.wait_seconds)
        except TimeoutError:
            raise Problem(
                504,
                f"Accepted and durable, but not applied within {services.wait_seconds:g} s.",
            ) from None


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
                "error": each.error.model_dump() | {"value": shown(each.error.value)},
            }
            for each in rejected
        ],
    }
    if event_ids is not None:
        answer["event_ids"] = list(event_ids)
    return Response(orjson.dumps(answer), 202, media_type="application/json")
