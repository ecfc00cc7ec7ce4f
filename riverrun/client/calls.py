"""Every operation of the HTTP API as a value: what is sent, and how its answer is read.

Pure: `Client` and `AsyncClient` send these and nothing else. Each function is one operation, its
arguments those of the operation (the OpenAPI document says what they mean). A value that any
server would refuse raises `ValueError` here (pydantic's `ValidationError`, where a model can tell).
What depends on a server's settings or catalogue is checked by the server: its answer lists single
records that it refuses in `rejected`, beside those that it accepts.

A call may be sent again when no answer came: reading changes nothing, an item or a user is replaced
as a whole, what is deleted stays deleted, and an event carries its id (see `identified`). But a
call that is sent again comes later than what others have sent meanwhile: it replaces their change
of the item, and an erasure then reaches their events too. So a call that the server says it has
accepted is not sent again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from feature_repo.schema import Item, User
from riverrun.client.errors import UnexpectedAnswerError, problem_error
from serving.http.body import MAX_BYTES, MAX_RECORDS
from serving.http.models import (
    AcceptedAnswer,
    AliveAnswer,
    CatalogueAnswer,
    EventBody,
    ItemBody,
    ListAnswer,
    ListQuery,
    PageQuery,
    ReadyAnswer,
    RecommendBody,
    SessionEvent,
    TrendingQuery,
    UserAnswer,
    UserBody,
    WaitQuery,
)
from serving.http.problems import MEDIA_TYPE, ProblemDocument
from serving.source_names import AskedSource

AnswerT = TypeVar("AnswerT")
ModelT = TypeVar("ModelT", bound=BaseModel)
ValueT = TypeVar("ValueT")
Wait = Literal["applied"]


@dataclass(frozen=True, slots=True)
class Call(Generic[AnswerT]):
    """One request.

    operation: method and path template, as the OpenAPI document has them. path: percent-encoded.
    read: turns the body of a successful answer into the result; raises `ValueError`.
    """

    operation: str
    path: str
    read: Callable[[bytes], AnswerT]
    query: Mapping[str, str | int] = field(default_factory=dict)
    content: bytes | None = None

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return the request with the base URL and the headers of `client`."""
        method = self.operation.partition(" ")[0]
        headers = {} if self.content is None else {"content-type": "application/json"}
        return client.build_request(
            method, self.path, params=self.query, content=self.content, headers=headers
        )

    def is_accepted(self, response: httpx.Response) -> bool:
        """Return whether the server says that the records are durable, but not applied in time.

        The 504 of a proxy is not counted: it says nothing of what became of the request.
        """
        return (
            response.status_code == HTTPStatus.GATEWAY_TIMEOUT
            and "wait" in self.query
            and response.headers.get("content-type", "").startswith(MEDIA_TYPE)
        )

    def answer(self, response: httpx.Response) -> AnswerT:
        """Return the result. Raises `ProblemError` and `UnexpectedAnswerError`."""
        if not response.is_success:
            raise problem_error(self.operation, _problem(response))
        try:
            return self.read(response.content)
        except ValueError as error:
            raise UnexpectedAnswerError(
                f"{self.operation}: the answer with status {response.status_code} does not fit "
                f"the API: {error}"
            ) from error


def identified(events: Sequence[EventBody], random: Random) -> list[EventBody]:
    """Return the events, each with an id, so that a request that is sent twice counts once."""
    return [
        event
        if event.event_id is not None
        else event.model_copy(update={"event_id": f"{random.getrandbits(128):032x}"})
        for event in events
    ]


def post_events(events: Sequence[EventBody], *, wait: Wait | None = None) -> Call[AcceptedAnswer]:
    """Accept what users did."""
    return _posted("/v1/events", events, wait)


def post_items(items: Sequence[Item], *, wait: Wait | None = None) -> Call[AcceptedAnswer]:
    """Insert or replace items."""
    return _posted("/v1/items", items, wait)


def post_users(users: Sequence[User], *, wait: Wait | None = None) -> Call[AcceptedAnswer]:
    """Insert or replace what is known of users besides their events."""
    return _posted("/v1/users", users, wait)


def delete_item(item_id: str, *, wait: Wait | None = None) -> Call[AcceptedAnswer]:
    """Remove an item; an unknown id is no error."""
    return Call(
        "DELETE /v1/items/{item_id}",
        _item_path(item_id),
        _reads(AcceptedAnswer),
        _waiting(wait),
    )


def delete_user(user_id: str, *, wait: Wait | None = None) -> Call[AcceptedAnswer]:
    """Erase a user everywhere; an unknown id is no error."""
    return Call(
        "DELETE /v1/users/{user_id}",
        _user_path(user_id),
        _reads(AcceptedAnswer),
        _waiting(wait),
    )


def recommend(
    *,
    request_id: str | None = None,
    user_id: str | None = None,
    session: Sequence[SessionEvent] = (),
    context_item_ids: Sequence[str] = (),
    limit: int = 20,
    offset: int = 0,
    filter: str | None = None,
    exclude_item_ids: Sequence[str] = (),
    exclude_seen: bool | Sequence[str] = False,
    diversity: float | None = None,
    calibration: float | None = None,
    exploration: float | None = None,
    category_cap: int | None = None,
    brand_cap: int | None = None,
    sources: Sequence[AskedSource] | None = None,
    explain: bool = False,
) -> Call[ListAnswer]:
    """Return the best items for a user or a session."""
    body = RecommendBody(
        request_id=request_id,
        user_id=user_id,
        session=_listed("session", session),
        context_item_ids=_listed("context_item_ids", context_item_ids),
        limit=limit,
        offset=offset,
        filter=filter,
        exclude_item_ids=_listed("exclude_item_ids", exclude_item_ids),
        exclude_seen=exclude_seen
        if isinstance(exclude_seen, bool)
        else _listed("exclude_seen", exclude_seen),
        diversity=diversity,
        calibration=calibration,
        exploration=exploration,
        category_cap=category_cap,
        brand_cap=brand_cap,
        sources=None if sources is None else _listed("sources", sources),
        explain=explain,
    )
    return Call(
        "POST /v1/recommend", "/v1/recommend", _reads(ListAnswer), content=_json(body).encode()
    )


def similar(
    item_id: str,
    *,
    limit: int = 20,
    offset: int = 0,
    filter: str | None = None,
) -> Call[ListAnswer]:
    """Return the items most like one item, by behaviour and text."""
    query = ListQuery(limit=limit, offset=offset, filter=filter)
    return Call(
        "GET /v1/items/{item_id}/similar",
        f"/v1/items/{_segment(Item(item_id=item_id).item_id)}/similar",
        _reads(ListAnswer),
        _given(**query.model_dump()),
    )


def trending(
    *,
    category: str | None = None,
    limit: int = 20,
    offset: int = 0,
    filter: str | None = None,
) -> Call[ListAnswer]:
    """Return what everybody acts on now."""
    query = TrendingQuery(category=category, limit=limit, offset=offset, filter=filter)
    return Call(
        "GET /v1/trending", "/v1/trending", _reads(ListAnswer), _given(**query.model_dump())
    )


def items(*, limit: int = 20, offset: int = 0) -> Call[CatalogueAnswer]:
    """Return a part of the catalogue."""
    query = PageQuery(limit=limit, offset=offset)
    return Call("GET /v1/items", "/v1/items", _reads(CatalogueAnswer), _given(**query.model_dump()))


def item(item_id: str) -> Call[Item]:
    """Return an item."""
    return Call("GET /v1/items/{item_id}", _item_path(item_id), _reads(Item))


def user(user_id: str) -> Call[UserAnswer]:
    """Return what is known of a user."""
    return Call("GET /v1/users/{user_id}", _user_path(user_id), _reads(UserAnswer))


def healthz() -> Call[AliveAnswer]:
    """Whether the process answers at all."""
    return Call("GET /healthz", "/healthz", _reads(AliveAnswer))


def readyz() -> Call[ReadyAnswer]:
    """Whether lists can be had that are up to date; if not, `UnavailableError` says why."""
    return Call("GET /readyz", "/readyz", _reads(ReadyAnswer))


def metrics() -> Call[str]:
    """Prometheus metrics."""
    return Call("GET /metrics", "/metrics", bytes.decode)


def _listed(name: str, values: Sequence[ValueT]) -> list[ValueT]:
    # A string is a sequence too: its letters would be sent as ids.
    if isinstance(values, str):
        raise ValueError(f"`{name}` must be a list, not one string. Received: {values!r}.")
    return list(values)


def _posted(path: str, records: Sequence[BaseModel], wait: Wait | None) -> Call[AcceptedAnswer]:
    if len(records) > MAX_RECORDS:
        raise ValueError(
            f"{path} takes at most {MAX_RECORDS} records at a time. Received: {len(records)}."
        )
    content = f"[{','.join(map(_json, records))}]".encode()
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"{path} takes at most {MAX_BYTES} bytes at a time. Received: {len(content)}."
        )
    return Call(f"POST {path}", path, _reads(AcceptedAnswer), _waiting(wait), content)


def _json(model: BaseModel) -> str:
    # Fields that were not given are not sent: an older server may not know them.
    return model.model_dump_json(exclude_defaults=True)


def _given(**query: Any) -> dict[str, str | int]:
    return {name: value for name, value in query.items() if value is not None}


def _waiting(wait: Wait | None) -> dict[str, str | int]:
    return _given(**WaitQuery(wait=wait).model_dump())


def _item_path(item_id: str) -> str:
    return f"/v1/items/{_segment(ItemBody(item_id=item_id).item_id)}"


def _user_path(user_id: str) -> str:
    return f"/v1/users/{_segment(UserBody(user_id=user_id).user_id)}"


def _segment(id_: str) -> str:
    # Dots too: an id "." or ".." would be resolved as a path before it is sent.
    return quote(id_, safe="").replace(".", "%2E")


def _reads(model: type[ModelT]) -> Callable[[bytes], ModelT]:
    return model.model_validate_json


def _problem(response: httpx.Response) -> ProblemDocument:
    try:
        return ProblemDocument.model_validate_json(response.content)
    except ValidationError:
        # Not the server has answered, but something in between, such as a proxy.
        status = response.status_code
        known = status in HTTPStatus.__members__.values()
        title = HTTPStatus(status).phrase if known else "Unknown status"
        return ProblemDocument(title=title, status=status, detail=response.text[:200])
