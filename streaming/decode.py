"""Decodes and checks log records: each is a change, or refused with a reason."""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter, ValidationError

from feature_repo.event_log import EVENTS, ITEMS, USERS, LogRecord
from feature_repo.first_error import FirstError
from feature_repo.log_records import decode_record, encode_record
from feature_repo.schema import (
    NO_OWN_ADDRESS,
    Event,
    Identifier,
    Item,
    User,
    has_own_address,
)
from feature_repo.times import moment_of
from streaming.settings import StreamingSettings


@dataclass(frozen=True, slots=True)
class ItemRemoved:
    """An item left the catalogue."""

    item_id: str


@dataclass(frozen=True, slots=True)
class UserErased:
    """A user asked to be forgotten."""

    user_id: str


Change = Event | Item | User | ItemRemoved | UserErased

MODELS: dict[str, type[Event] | type[Item] | type[User]] = {
    EVENTS: Event,
    ITEMS: Item,
    USERS: User,
}
"""The model of each topic's records."""

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_GROWTH = 5
"""A record is not so many times as long when it is written again: 1e15 as 1000000000000000.0."""
_KEYS = {EVENTS: "user_id", ITEMS: "item_id", USERS: "user_id"}


def is_id(key: str | None) -> bool:
    """Return whether a record's key can be the id of an item or a user."""
    try:
        _IDENTIFIER.validate_python(key)
    except ValidationError:
        return False
    return True


class DecodeError(ValueError):
    """Why a record cannot be used. The message is the dead letter's reason."""


class Decoder:
    """Reads the records of the topics events, items and users.

    event_types: the accepted types; empty accepts all.
    max_future: how far an event's timestamp may be ahead of the time at which the log took it. By
    a reader's clock, the readers of one record might not agree.
    max_bytes: the longest value, as it was sent and as it is written again; a dead letter or
    changelog record made of a longer one may exceed the largest message.
    """

    def __init__(
        self, event_types: tuple[str, ...], max_future: timedelta, max_bytes: int | None = None
    ) -> None:
        self._event_types = frozenset(event_types)
        self._max_future = max_future
        self._max_bytes = max_bytes

    @classmethod
    def of(cls, settings: StreamingSettings) -> "Decoder":
        """Return the decoder of a shop: all readers of its log accept the same records."""
        return cls(
            settings.event_types,
            timedelta(seconds=settings.max_future_seconds),
            settings.kafka.max_record_bytes,
        )

    def decode(self, record: LogRecord) -> Change:
        """Return what `record` says, or raise `DecodeError`."""
        topic = record.source.topic
        if record.key is None:
            raise DecodeError("the key is null.")
        if record.value is None:
            return self._tombstone(topic, record.key)
        self._check_size(len(record.value), "")
        model = MODELS.get(topic)
        if model is None:
            raise DecodeError(f"topic {topic!r} is not read here.")
        try:
            change: Event | Item | User = decode_record(model, record.value)
        except ValidationError as error:
            raise DecodeError(_reason(error)) from error
        except ValueError as error:
            raise DecodeError(str(error)) from error
        named = getattr(change, _KEYS[topic])
        if named != record.key:
            raise DecodeError(f"`{_KEYS[topic]}` is {named!r} but the key is {record.key!r}.")
        if isinstance(change, Event):
            self._check(change, record.appended_at)
        if isinstance(change, Item) and not has_own_address(change.item_id):
            raise DecodeError(f"`item_id` {NO_OWN_ADDRESS}. Received: {change.item_id!r}.")
        if self._max_bytes is not None and len(record.value) * _GROWTH > self._max_bytes:
            self._check_size(len(encode_record(change)), " when it is written again")
        return change

    def _check_size(self, size: int, when: str) -> None:
        if self._max_bytes is not None and size > self._max_bytes:
            raise DecodeError(
                f"the value must be at most {self._max_bytes} bytes{when}, which the setting "
                f"streaming.kafka.max_message_bytes leaves. Received: {size} bytes."
            )

    def _check(self, event: Event, appended_at: int | None) -> None:
        if self._event_types and event.event_type not in self._event_types:
            known = ", ".join(sorted(self._event_types))
            raise DecodeError(f"`event_type` must be one of {known}. Received: {event.event_type}.")
        if appended_at is None:
            return
        ahead = event.timestamp - moment_of(appended_at * 1_000)
        if ahead > self._max_future:
            raise DecodeError(
                f"`timestamp` must be at most {self._max_future} ahead of when the log took the "
                f"event. Received: {event.timestamp.isoformat()}, {ahead} ahead."
            )

    @staticmethod
    def _tombstone(topic: str, key: str) -> Change:
        try:
            _IDENTIFIER.validate_python(key)
        except ValidationError as error:
            raise DecodeError(f"the key is no id: {_reason(error)}") from error
        if topic == ITEMS:
            return ItemRemoved(key)
        if topic == USERS:
            return UserErased(key)
        raise DecodeError("the value is null: an event cannot be deleted.")


def _reason(error: ValidationError) -> str:
    first, more = FirstError.of(error), error.error_count() - 1
    reason = f"`{first.key}`: {first.statement}" if first.key else first.statement
    return reason + (f" And {more} more errors." if more else "")
