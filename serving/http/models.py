"""Bodies of requests and answers of API v1, with the examples that /docs shows."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, field_validator

from feature_repo.schema import (
    MAX_LABEL,
    NO_OWN_ADDRESS,
    EventContext,
    EventType,
    EventValue,
    Identifier,
    Item,
    OneError,
    SearchQuery,
    SentTimestamp,
    User,
    has_own_address,
)
from serving.filters import MAX_LENGTH as MAX_FILTER
from serving.http.problems import FieldError
from serving.requests import MAX_IDS, MAX_SESSION, CapSize, Limit, Offset, Share
from serving.source_names import ASKED_SOURCES, AskedSource

MAX_SEEN_TYPES = 64
FilterText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_FILTER,
        description="SQL boolean expression over item_id, title, brand, price, available, "
        "published_at, categories, tags and attributes.NAME; texts in single quotes. NOW(), DATE "
        "'2026-01-01' and TIMESTAMP '2026-01-01 08:00:00' are of UTC; a TIMESTAMP may name another "
        "offset, as in '2026-01-01 08:00:00+02:00'.",
        examples=["price < 50 AND 'Garden' = ANY(categories)"],
    ),
]
ItemId = Annotated[Identifier, Path(description="May hold slashes.", examples=["i7"])]
UserId = Annotated[Identifier, Path(description="May hold slashes.", examples=["u42"])]


EVENT = {
    "event_id": "order-881-line-1",
    "user_id": "u42",
    "item_id": "i7",
    "event_type": "purchase",
    "timestamp": "2026-01-02T03:04:05Z",
    "value": 18.5,
}
ITEM = {
    "item_id": "i7",
    "title": "Blue ceramic teapot",
    "description": "Holds a litre, and keeps it warm.",
    "categories": ["Kitchen", "Tea"],
    "brand": "Norden",
    "price": 18.5,
    "attributes": {"colour": "blue", "dishwasher": True},
    "published_at": "2026-01-02T03:04:05Z",
}
USER = {"user_id": "u42", "attributes": {"country": "PT", "member": True}}
RECOMMEND = {
    "user_id": "u42",
    "limit": 10,
    "filter": "price < 50 AND 'Kitchen' = ANY(categories)",
    "exclude_seen": ["purchase"],
    "explain": True,
}
_LIST = {
    "request_id": "2f6f6ad6c0b14b3c9d0f1d2f6c0f2a11",
    "model_version": "20260102T030405Z-3f0f",
    "items": [
        {
            "item_id": "i7",
            "score": 0.83,
            "sources": ["two_tower", "ease"],
            "reason": "because you viewed Green ceramic teapot",
            "explanation": {
                "history": [{"item_id": "i3", "event_type": "view", "share": 0.71}],
                "features": [
                    {
                        "name": "ease.score",
                        "words": "what people do who did what you did",
                        "value": 0.42,
                        "effect": 1.3,
                    }
                ],
            },
        }
    ],
}


def _example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EventBody(_Body):
    """What a user did. Without an id or a time, the server gives them."""

    event_id: Identifier | None = None
    user_id: Identifier
    item_id: Identifier
    event_type: EventType
    timestamp: SentTimestamp | None = None
    value: EventValue | None = None
    query: SearchQuery | None = None
    request_id: Identifier | None = None
    context: EventContext = {}


class ItemBody(Item):
    """An entry of the catalogue, whole: what is left out takes its default."""

    model_config = ConfigDict(extra="forbid")

    published_at: SentTimestamp | None = None

    @field_validator("item_id")
    @classmethod
    def _has_an_address(cls, item_id: str) -> str:
        if not has_own_address(item_id):
            raise ValueError(f"{NO_OWN_ADDRESS}.")
        return item_id


class UserBody(User):
    """What is known of a user besides the events, whole."""

    model_config = ConfigDict(extra="forbid")


class SessionEvent(_Body):
    """An event sent along with a question; it is not stored. Its time is bounded as an event's."""

    item_id: Identifier
    event_type: EventType = "view"
    timestamp: SentTimestamp | None = None


class RecommendBody(_Body):
    """Whom to recommend to, and what may be shown. What is null is as the server is set."""

    request_id: Annotated[
        Identifier | None,
        Field(
            description="Names the list, and draws what it explores: give the `request_id` of "
            "an answer to get its next page, or the list again. By default a new one."
        ),
    ] = None
    user_id: Identifier | None = None
    session: Annotated[list[SessionEvent], Field(max_length=MAX_SESSION)] = []
    context_item_ids: Annotated[list[Identifier], Field(max_length=MAX_SESSION)] = []
    limit: Limit = 20
    offset: Offset = 0
    filter: FilterText | None = None
    exclude_item_ids: Annotated[list[Identifier], Field(max_length=MAX_IDS)] = []
    exclude_seen: Annotated[
        bool | Annotated[list[EventType], Field(max_length=MAX_SEEN_TYPES)],
        OneError(
            f"must be true, false, or a list of at most {MAX_SEEN_TYPES} event types, which are "
            "lower-case words"
        ),
    ] = False
    diversity: Annotated[
        Share | None, Field(description="0: by score alone; 1: by difference alone.")
    ] = None
    calibration: Annotated[
        Share | None,
        Field(description="1: categories as often as in the user's history; 0: by score alone."),
    ] = None
    exploration: Annotated[
        Share | None,
        Field(description="The share of places for items that little is known of."),
    ] = None
    category_cap: Annotated[
        CapSize | None,
        Field(
            description="The most items with the same categories in a list (among 20 places "
            "in a row, where not set otherwise), as long as there are others."
        ),
    ] = None
    brand_cap: Annotated[
        CapSize | None, Field(description="The same of one brand.", examples=[3])
    ] = None
    sources: Annotated[
        list[AskedSource] | None,
        Field(
            min_length=1,
            max_length=len(ASKED_SOURCES),
            description="For debugging: asks these alone, and shows only what they propose; one "
            "of them in its own order.",
            examples=[["ease"]],
        ),
    ] = None
    explain: Annotated[
        bool, Field(description="Whether places have a `reason` and an `explanation`.")
    ] = False


class WaitQuery(_Body):
    """Whether the answer waits until the effect is visible."""

    wait: Literal["applied"] | None = None


class PageQuery(_Body):
    """A part of a long list."""

    limit: Limit = 20
    offset: Offset = 0


class ListQuery(PageQuery):
    """A part of a list of items that fit a filter."""

    filter: FilterText | None = None


class TrendingQuery(ListQuery):
    """A part of what trends, in a category if given."""

    category: (
        Annotated[str, Field(min_length=1, max_length=MAX_LABEL, pattern=r"^[^\x00]+$")] | None
    ) = None


class Rejection(BaseModel):
    """A record that was not accepted: its place in the request, and why."""

    index: int
    error: FieldError


class AcceptedAnswer(BaseModel):
    """What was accepted is durable. `duplicates` were in the request more than once."""

    model_config = _example(
        {
            "accepted": 1,
            "duplicates": 0,
            "rejected": [
                {
                    "index": 1,
                    "error": {"field": "user_id", "message": "Field required.", "value": None},
                }
            ],
            "event_ids": ["order-881-line-1"],
        }
    )

    accepted: int
    duplicates: int = 0
    rejected: list[Rejection] = []
    event_ids: list[str] | None = Field(None, description="Of the accepted events, in order.")


class HistoryShareAnswer(BaseModel):
    """An item of the user's history, what was last done with it, and how much it weighs."""

    item_id: str
    event_type: str
    share: float = Field(
        description="In 0..1: of what the sources that proposed the place add up over the "
        "history, or of the nearness to it where none of them adds up anything."
    )


class FeatureEffectAnswer(BaseModel):
    """A feature of the ranker."""

    name: str
    words: str = Field(
        "", description="What it is about, for people; `effect` says for or against."
    )
    value: float
    effect: float = Field(
        description="The score less what it would be with the mean of the candidates for `value`."
    )


class ExplanationAnswer(BaseModel):
    """Why an item has its place: history and features, those that weigh most first."""

    history: list[HistoryShareAnswer]
    features: list[FeatureEffectAnswer] = Field(
        description="Empty where no ranker has scored the item."
    )


class AnsweredItem(BaseModel):
    """One place of a list."""

    item_id: str
    score: float
    sources: list[str]
    reason: str | None = None
    explanation: ExplanationAnswer | None = None


class ListAnswer(BaseModel):
    """A ranked list, best first."""

    model_config = _example(_LIST)

    request_id: str
    model_version: str
    items: list[AnsweredItem]


class CatalogueAnswer(BaseModel):
    """A part of the catalogue."""

    model_config = _example({"total": 2_000, "items": [ITEM]})

    total: int
    items: list[Item]


class PastEvent(BaseModel):
    """An event of a history."""

    event_id: str
    item_id: str
    event_type: str
    timestamp: datetime
    value: float


class UserAnswer(BaseModel):
    """What is known of a user: profile, and the newest events, oldest first."""

    model_config = _example(
        {
            **USER,
            "history": [
                {name: EVENT[name] for name in ("event_id", "item_id", "event_type", "value")}
                | {"timestamp": "2026-01-02T03:04:05+00:00"}
            ],
        }
    )

    user_id: str
    attributes: dict[str, str | float | bool]
    history: list[PastEvent]


class AliveAnswer(BaseModel):
    """The process answers."""

    model_config = _example({"status": "alive"})

    status: Literal["alive"]


class ReadyAnswer(BaseModel):
    """Lists can be had; `model_version` names the bundle that makes them.

    `degraded` says what they do without at present.
    """

    model_config = _example(
        {
            "status": "ready",
            "model_version": _LIST["model_version"],
            "degraded": ["the online store does not answer: users are served as unknown ones"],
        }
    )

    status: Literal["ready"]
    model_version: str
    degraded: list[str] = Field(
        [], description="What is not as it should be, though lists are answered."
    )
