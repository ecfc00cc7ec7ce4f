"""Event, Item and User: what enters the system, validated once at the edge.

The same models read a REST body, an imported file and a log record, so that a
value that is accepted in one place is accepted in all. Only times may be written
in more ways in a log, whose records must stay readable, than in a request.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
)
from pydantic_core.core_schema import CoreSchema, custom_error_schema

from feature_repo.markup import without_markup

SCHEMA_VERSION = 1

EARLIEST_TIMESTAMP = datetime(1990, 1, 1, tzinfo=UTC)
"""Before this a timestamp is a unit error (seconds read as milliseconds, an empty column)."""

LATEST_TIMESTAMP = datetime(2100, 1, 1, tzinfo=UTC)


def _printable(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError(f"must be printable and not padded with spaces. Received: {value!r}.")
    return value


_NO_TIME = "must be an RFC 3339 time, as 2026-01-02T03:04:05Z. Received: {!r}."


def _plausible(value: datetime) -> datetime:
    if not EARLIEST_TIMESTAMP <= value < LATEST_TIMESTAMP:
        raise ValueError(
            f"must lie between {EARLIEST_TIMESTAMP:%Y-%m-%d} and {LATEST_TIMESTAMP:%Y-%m-%d}. "
            f"Received: {value.isoformat()}."
        )
    return value.astimezone(UTC)


_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _written_by_rfc3339(value: object) -> object:
    if not isinstance(value, str):
        return value
    if _RFC3339.fullmatch(value) is None:
        raise ValueError(_NO_TIME.format(value[:64]))
    # RFC 3339 allows a lower-case "t" and "z".
    return value.upper()


def _moment(value: object) -> object:
    # Pydantic would also read numbers, as seconds or milliseconds by their size.
    if isinstance(value, str) and value[4:5] == "-":
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    if isinstance(value, datetime):
        return value
    raise ValueError(_NO_TIME.format(str(value)[:64]))


class OneError:
    """Gives a union one error at its own place, in place of one for each of its types."""

    def __init__(self, message: str) -> None:
        self.message = message

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return custom_error_schema(
            handler(source), custom_error_type="union", custom_error_message=self.message
        )


MAX_IDENTIFIER = 128
Identifier = Annotated[
    str, Field(min_length=1, max_length=MAX_IDENTIFIER), AfterValidator(_printable)
]
"""A user, item, event or request id: 1..128 printable characters."""

EVENT_TYPE_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
EventType = Annotated[str, Field(pattern=EVENT_TYPE_PATTERN)]
"""A lower-case word such as view, cart, purchase."""

Timestamp = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_plausible)]
"""A time with an offset, by ISO 8601, kept in UTC with microsecond resolution."""

SentTimestamp = Annotated[Timestamp, BeforeValidator(_written_by_rfc3339)]
"""A `Timestamp` as requests have it: written by RFC 3339."""

MAX_LABEL = 256
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
"""A category or a tag."""

MAX_TITLE = 1_024
MAX_DESCRIPTION = 16_384
MAX_CATEGORIES = 32
MAX_TAGS = 64
MAX_PRICE = 1e12

MAX_VALUE = 1e12
EventValue = Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE)]
MAX_QUERY = 1_024
SearchQuery = Annotated[str, Field(max_length=MAX_QUERY)]
MAX_CONTEXT = 64
EventContext = Annotated[dict[str, JsonValue], Field(max_length=MAX_CONTEXT)]

MAX_ATTRIBUTES = 256
AttributeValue = Annotated[
    str | float | bool, OneError("must be a text, a number, or true or false")
]
Attributes = Annotated[dict[str, AttributeValue], Field(max_length=MAX_ATTRIBUTES)]

MAX_NESTING = 100
"""How deep an unknown field may be nested: readers of JSON give up at 200."""


def is_shallow(value: JsonValue) -> bool:
    """Return whether a value is nested at most `MAX_NESTING` deep."""
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [inner for outer in level for inner in _parts(outer)]
        if not level:
            return True
    return False


def _shallow(value: JsonValue) -> JsonValue:
    if not is_shallow(value):
        raise ValueError(f"must be nested at most {MAX_NESTING} deep.")
    return value


def _parts(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


class _Record(BaseModel):
    # A field of a newer version is kept; the edges, where it would be a mistake, refuse it.
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    # What no JSON can say, NaN and infinity, could not be kept.
    __pydantic_extra__: dict[str, Annotated[JsonValue, AfterValidator(_shallow)]]


class Event(_Record):
    """One thing one user did to one item at one moment.

    `event_id` makes a record idempotent: the same id of the same user counts once.
    """

    event_id: Identifier
    user_id: Identifier
    item_id: Identifier
    event_type: EventType
    timestamp: Timestamp
    value: EventValue | None = None
    query: SearchQuery | None = None
    request_id: Identifier | None = None
    context: EventContext = {}


NO_OWN_ADDRESS = "must not end in '/similar': that is the address of a list"


def has_own_address(item_id: str) -> bool:
    """Return whether the HTTP API can name an item; else `NO_OWN_ADDRESS` says why not.

    Asked wherever items come in, and not by `Item`: what is stored must stay readable.
    """
    return not item_id.endswith("/similar")


class Item(_Record):
    """One entry of the catalogue. `categories` go from general to specific."""

    item_id: Identifier
    title: Annotated[str, Field(max_length=MAX_TITLE)] = ""
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION)] = ""
    categories: Annotated[tuple[Label, ...], Field(max_length=MAX_CATEGORIES)] = ()
    brand: Annotated[str, Field(max_length=MAX_LABEL)] = ""
    price: Annotated[float, Field(ge=0, le=MAX_PRICE)] | None = None
    tags: Annotated[tuple[Label, ...], Field(max_length=MAX_TAGS)] = ()
    attributes: Attributes = {}
    available: bool = True
    published_at: Timestamp | None = None

    @property
    def text(self) -> str:
        """What the text tower reads: the title first, since long text is cut at the end.

        HTML is read as a page shows it, or tags would take the place of words.
        """
        given = (self.title, self.brand, " > ".join(self.categories), self.description)
        return ". ".join(part for part in map(without_markup, given) if part)


class User(_Record):
    """What is known of a user besides the events."""

    user_id: Identifier
    attributes: Attributes = {}


def content_id(*parts: str) -> str:
    """Return a 32-digit hex id that is the same for the same parts, for records without one."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
