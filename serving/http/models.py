"""Bodies of requests and answers of API v1, with the examples that /docs shows."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from feature_repo.schema import EventType, Identifier, Timestamp
from serving.http.problems import FieldError
from serving.requests import MAX_IDS, MAX_LIMIT, MAX_OFFSET, MAX_SESSION

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
Share = Annotated[float, Field(ge=0, le=1)]
FilterText = Annotated[str, Field(min_length=1, max_length=4096)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EventBody(_Body):
    """What a user did. Without an id or a time, the server gives them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "u42",
                    "item_id": "i7",
                    "event_type": "view",
                    "timestamp": "2026-01-02T03:04:05Z",
                }
            ]
        }
    )

    event_id: Identifier | None = None
    user_id: Identifier
    item_id: Identifier
    event_type: EventType
    timestamp: Timestamp | None = None
    value: Annotated[float, Field(ge=-1e12, le=1e12)] | None = None
    query: Annotated[str, Field(max_length=1024)] | None = None
    request_id: Identifier | None = None
    context: Annotated[dict[str, JsonValue], Field(max_length=64)] = {}


class SessionEvent(_Body):
    """An event sent along with a question; it is not stored."""

    item_id: Identifier
    event_type: EventType = "view"
    timestamp: Timestamp | None = None


class RecommendBody(_Body):
    """Whom to recommend to, and what may be shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user_id": "u42",
                    "limit": 10,
                    "filter": "price < 50 AND 'Garden' = ANY(categories)",
                    "exclude_seen": ["purchase"],
                    "explain": True,
                }
            ]
        }
    )

    user_id: Identifier | None = None
    session: Annotated[list[SessionEvent], Field(max_length=MAX_SESSION)] = []
    context_item_ids: Annotated[list[Identifier], Field(max_length=MAX_SESSION)] = []
    limit: Limit = 20
    offset: Offset = 0
    filter: FilterText | None = None
    exclude_item_ids: Annotated[list[Identifier], Field(max_length=MAX_IDS)] = []
    exclude_seen: bool | Annotated[list[EventType], Field(max_length=64)] = False
    diversity: Share = 0.0
    exploration: Share = 0.0
    explain: bool = False


class WaitQuery(_Body):
    """Whether the answer waits until the effect is visible."""

    wait: Annotated[str, Field(pattern="^applied$")] | None = None


class PageQuery(_Body):
    """A part of a long list."""

    limit: Limit = 20
    offset: Offset = 0


class ListQuery(PageQuery):
    """A part of a list of items that fit a filter."""

    filter: FilterText | None = None


class TrendingQuery(ListQuery):
    """A part of what trends, in a category if given."""

    category: Annotated[str, Field(min_length=1, max_length=256)] | None = None


class Rejection(BaseModel):
    """A record that was not accepted: its place in the request, and why."""

    index: int
    error: FieldError


class AcceptedAnswer(BaseModel):
    """What was accepted is durable. `duplicates` were in the request more than once."""

    accepted: int
    duplicates: int = 0
    rejected: list[Rejection] = []
    event_ids: list[str] | None = Field(None, description="Of the accepted events, in order.")


class AnsweredItem(BaseModel):
    """One place of a list."""

    item_id: str
    score: float
    sources: list[str]
    reason: str | None = None


class ListAnswer(BaseModel):
    """A ranked list, best first."""

    request_id: str
    model_version: str
    items: list[AnsweredItem]


class CatalogueAnswer(BaseModel):
    """A part of the catalogue."""

    total: int
    items: list[dict[str, Any]]


class UserAnswer(BaseModel):
    """What is known of a user: profile, and the newest events, oldest first."""

    user_id: str
    attributes: dict[str, Any]
    history: list[dict[str, Any]]


class StatusAnswer(BaseModel):
    """Whether the server can serve; if not, why."""

    status: str
    reasons: list[str] = []
    model_version: str | None = None
