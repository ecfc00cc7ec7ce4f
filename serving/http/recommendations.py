"""Routes that answer with lists, and with what is known of items and users."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated
from uuid import uuid4

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.schema import Item, User
from feature_repo.times import microseconds, moment_of
from serving.catalogue import Catalogue
from serving.http.body import parse, read_body, reading, refuse_query, refuse_repeated
from serving.http.bounded_threads import BoundedThreads
from serving.http.documentation import answer, body_of, problems
from serving.http.models import (
    ITEM,
    RECOMMEND,
    CatalogueAnswer,
    ItemId,
    ListAnswer,
    ListQuery,
    PageQuery,
    RecommendBody,
    SessionEvent,
    TrendingQuery,
    UserAnswer,
    UserId,
)
from serving.http.problems import (
    MAX_ERRORS,
    FieldError,
    Problem,
    future_error,
    shown,
    unprocessable,
)
from serving.http.services import Services
from serving.requests import (
    Recommendation,
    RecommendRequest,
    SimilarRequest,
    TrendingRequest,
    UnknownItemError,
)
from serving.source_shares import SourceShares

_LIST = TypeAdapter(Recommendation)


def recommendation_routes(services: Services, shares: SourceShares) -> APIRouter:
    """Return the routes over `services`; what they answer counts in `shares`."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(refuse_repeated)])
    http = services.http
    list_threads = http.list_threads_over(remote=services.online_is_remote)
    threads = BoundedThreads("lists", "requests for lists", list_threads, http.list_queue)

    def answered(recommendation: Recommendation) -> Response:
        shares.served(recommendation)
        return _as_json(_LIST.dump_json(recommendation, exclude_none=True))

    @router.post(
        "/recommend",
        tags=["lists"],
        response_model=ListAnswer,
        responses=problems(400, 413, 415, 422, 500, 503),
        openapi_extra=body_of(RecommendBody, RECOMMEND, many=False),
    )
    async def recommend(request: Request) -> Response:
        """Return the best items for a user or a session.

        An unknown user gets what is popular. `session` holds events that were not sent to
        `/v1/events`; they count for this answer alone.
        """
        refuse_query(request)
        body = await reading(await read_body(request), partial(parse, RecommendBody))
        asked = _recommend_request(services, body)
        return answered(await threads.run(services.recommender.recommend, asked))

    @router.get(
        "/items/{item_id:id}/similar",
        tags=["lists"],
        response_model=ListAnswer,
        responses=problems(404, 422, 500, 503),
    )
    async def similar(item_id: ItemId, query: Annotated[ListQuery, Query()]) -> Response:
        """Return the items most like one item, by behaviour and text."""
        asked = SimilarRequest(
            uuid4().hex, item_id, limit=query.limit, offset=query.offset, filter=query.filter
        )
        return answered(await threads.run(services.recommender.similar, asked))

    @router.get(
        "/trending", tags=["lists"], response_model=ListAnswer, responses=problems(422, 500, 503)
    )
    async def trending(query: Annotated[TrendingQuery, Query()]) -> Response:
        """Return what everybody acts on now."""
        asked = TrendingRequest(
            uuid4().hex,
            query.category,
            limit=query.limit,
            offset=query.offset,
            filter=query.filter,
        )
        return answered(await threads.run(services.recommender.trending, asked))

    @router.get(
        "/items", tags=["items"], response_model=CatalogueAnswer, responses=problems(422, 500, 503)
    )
    async def items(query: Annotated[PageQuery, Query()]) -> Response:
        """Return a part of the catalogue."""
        return await threads.run(_items, services.catalogue, query)

    @router.get(
        "/items/{item_id:shown_id}",
        tags=["items"],
        response_model=Item,
        responses={**answer(ITEM), **problems(404, 422, 500)},
    )
    async def item(request: Request, item_id: ItemId) -> Response:
        """Return an item."""
        refuse_query(request)
        document = services.catalogue.document(item_id)
        if document is None:
            raise UnknownItemError(item_id)
        return _json(orjson.Fragment(document))

    @router.get(
        "/users/{user_id:id}",
        tags=["users"],
        response_model=UserAnswer,
        responses=problems(404, 422, 500, 503),
    )
    async def user(request: Request, user_id: UserId) -> Response:
        """Return what is known of a user."""
        refuse_query(request)
        return _json(await threads.run(_user, services, user_id))

    return router


def _refuse_future(session: Sequence[SessionEvent], now: datetime, max_future: timedelta) -> None:
    """Raise 422 for events so far ahead that what is stored would count as long past."""
    found = (
        future_error(f"session.{place}.timestamp", event.timestamp, now, max_future)
        for place, event in enumerate(session)
        if event.timestamp
    )
    if errors := [error for error in found if error]:
        raise unprocessable(errors[:MAX_ERRORS])


def _recommend_request(services: Services, body: RecommendBody) -> RecommendRequest:
    at = services.clock()
    _refuse_future(body.session, at, services.acceptance.max_future)
    now = microseconds(at)
    session = tuple(
        HistoryEvent(
            # Events without a time are given times in the order sent, the last one now.
            timestamp=microseconds(event.timestamp)
            if event.timestamp
            else now - len(body.session) + place,
            # Events of one moment keep the order sent, since a history sorts ids as text.
            event_id=f"session-{place:06}",
            item_id=event.item_id,
            event_type=event.event_type,
            value=0.0,
        )
        for place, event in enumerate(body.session)
    )
    seen = body.exclude_seen
    return RecommendRequest(
        request_id=body.request_id or uuid4().hex,
        user_id=body.user_id,
        session=session,
        context_item_ids=tuple(body.context_item_ids),
        limit=body.limit,
        offset=body.offset,
        filter=body.filter,
        exclude_item_ids=frozenset(body.exclude_item_ids),
        exclude_seen=seen if isinstance(seen, bool) else frozenset(seen),
        diversity=body.diversity,
        calibration=body.calibration,
        exploration=body.exploration,
        category_cap=body.category_cap,
        brand_cap=body.brand_cap,
        sources=None if body.sources is None else frozenset(body.sources),
        explain=body.explain,
    )


def _items(catalogue: Catalogue, query: PageQuery) -> Response:
    page = catalogue.page(query.offset, query.limit)
    return _json({"total": len(catalogue), "items": list(map(orjson.Fragment, page))})


def _user(services: Services, user_id: str) -> dict[str, object]:
    profile = services.online.get(User, [user_id])[0]
    history = services.online.get(UserHistory, [user_id])[0]
    if profile is None and history is None:
        value = shown(user_id)
        error = FieldError(field="user_id", message="must be that of a known user.", value=value)
        raise Problem(404, f"There is no user {value!r}.", [error])
    return {
        "user_id": user_id,
        "attributes": profile.attributes if profile else {},
        "history": [
            {
                "event_id": event.event_id,
                "item_id": event.item_id,
                "event_type": event.event_type,
                "timestamp": _rfc3339(event.timestamp),
                "value": event.value,
            }
            for event in (history.events if history else ())
        ],
    }


def _rfc3339(microseconds_: int) -> str:
    return moment_of(microseconds_).isoformat()


def _json(answer: object) -> Response:
    return _as_json(orjson.dumps(answer))


def _as_json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
