"""What the schema accepts it keeps, and what it refuses it names."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from feature_repo.schema import (
    EARLIEST_TIMESTAMP,
    LATEST_TIMESTAMP,
    Event,
    Item,
    User,
    content_id,
)
from feature_repo.times import EPOCH, INSTANT, microseconds, moment_of
from serving.http.models import EventBody, ItemBody, SessionEvent, UserBody
from tests.support.records import IDENTIFIERS, ITEMS, TIMESTAMPS, USERS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "event_id": "e",
        "user_id": "u",
        "item_id": "i",
        "event_type": "view",
        "timestamp": NOON,
    }
    return Event.model_validate({**fields, **changes})


@given(st.one_of(ITEMS, USERS))
def test_a_record_survives_json(record: Item | User) -> None:
    assert type(record).model_validate_json(record.model_dump_json()) == record


@given(TIMESTAMPS, OFFSETS)
def test_a_moment_is_the_same_in_every_offset(moment: datetime, offset: timezone) -> None:
    read = event(timestamp=moment.astimezone(offset).isoformat()).timestamp
    assert read == moment
    assert read.tzinfo is UTC
    assert microseconds(read) == microseconds(moment)


SENT: tuple[tuple[type[BaseModel], dict[str, str], str], ...] = (
    (EventBody, {"user_id": "u", "item_id": "i", "event_type": "view"}, "timestamp"),
    (SessionEvent, {"item_id": "i"}, "timestamp"),
    (ItemBody, {"item_id": "i"}, "published_at"),
)


@pytest.mark.parametrize(("body", "fields", "name"), SENT)
@given(moment=TIMESTAMPS, offset=OFFSETS, separator=st.sampled_from("Tt "), small=st.booleans())
def test_a_request_may_write_a_moment_in_every_way_of_rfc_3339(
    body: type[BaseModel],
    fields: dict[str, str],
    name: str,
    moment: datetime,
    offset: timezone,
    separator: str,
    small: bool,
) -> None:
    written = moment.astimezone(offset).isoformat(separator)
    utc = moment.isoformat().removesuffix("+00:00") + ("z" if small else "Z")
    for each in (written, utc):
        assert getattr(body.model_validate({**fields, name: each}), name) == moment


@pytest.mark.parametrize(("body", "fields", "name"), SENT)
@pytest.mark.parametrize(
    "written",
    [
        "2026-W01-1T00:00:00Z",
        "2026-01-02T03Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05,5Z",
        "2026-01-02T030405Z",
        "2026-01-02T03:04:05+01",
        "2026-01-02T03:04:05+0100",
        "2026-01-02_03:04:05Z",
    ],
)
def test_other_ways_to_write_a_moment_are_refused_in_a_request_and_read_in_a_log(
    body: type[BaseModel], fields: dict[str, str], name: str, written: str
) -> None:
    with pytest.raises(ValidationError, match="must be an RFC 3339 time"):
        body.model_validate({**fields, name: written})
    assert event(timestamp=written).timestamp
    assert Item.model_validate({"item_id": "i", "published_at": written}).published_at


@pytest.mark.parametrize("end", ["\n", " ", "Z", "x"])
def test_nothing_may_stand_behind_a_moment(end: str) -> None:
    with pytest.raises(ValidationError, match="must be an RFC 3339 time"):
        SessionEvent.model_validate({"item_id": "i", "timestamp": f"2026-01-02T03:04:05Z{end}"})


@given(TIMESTAMPS)
def test_microseconds_are_exact(moment: datetime) -> None:
    assert EPOCH + timedelta(microseconds=microseconds(moment)) == moment
    assert moment_of(microseconds(moment)) == moment


@pytest.mark.parametrize("moment", [EARLIEST_TIMESTAMP, LATEST_TIMESTAMP - INSTANT])
def test_the_first_and_the_last_plausible_moment_are_accepted(moment: datetime) -> None:
    assert event(timestamp=moment).timestamp == moment


@pytest.mark.parametrize(
    "moment",
    [
        EARLIEST_TIMESTAMP - INSTANT,
        LATEST_TIMESTAMP,
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999999Z",
        datetime(2026, 1, 1),  # noqa: DTZ001 - a time of no zone is what is refused
        "2026-01-01T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-01",
        1_767_225_600,
        1_767_225_600_000,
        "1767225600",
        "yesterday",
        "",
        None,
        True,
    ],
)
def test_an_implausible_moment_is_refused(moment: object) -> None:
    with pytest.raises(ValidationError, match="timestamp"):
        event(timestamp=moment)


@given(IDENTIFIERS)
def test_an_identifier_may_be_in_any_script(identifier: str) -> None:
    assert event(user_id=identifier).user_id == identifier


@pytest.mark.parametrize(
    "identifier", ["", " padded", "padded ", "two\nlines", "nul\0", "\u202eturned", "x" * 129, 7]
)
def test_an_unusable_identifier_is_refused(identifier: object) -> None:
    with pytest.raises(ValidationError, match="user_id"):
        event(user_id=identifier)


@pytest.mark.parametrize("identifier", ["x", "x" * 128, "ünï-çødé", "商品 1", "🛒"])
def test_a_usable_identifier_is_accepted(identifier: str) -> None:
    assert event(item_id=identifier).item_id == identifier


@pytest.mark.parametrize("name", ["", "View", "9lives", "-x", "a b", "x" * 33, "view\n"])
def test_an_event_type_is_a_lower_case_word(name: str) -> None:
    with pytest.raises(ValidationError, match="event_type"):
        event(event_type=name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1.1e12, "much"])
def test_a_value_is_a_finite_number(value: object) -> None:
    with pytest.raises(ValidationError, match="value"):
        event(value=value)


@pytest.mark.parametrize("price", [-0.01, float("nan"), float("inf"), 1.1e12, "1.234,50"])
def test_a_price_is_a_finite_number_from_0(price: object) -> None:
    with pytest.raises(ValidationError, match="price"):
        Item.model_validate({"item_id": "i", "price": price})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "x" * 1025),
        ("description", "x" * 16_385),
        ("categories", ["x"] * 33),
        ("categories", [""]),
        ("categories", ["x" * 257]),
        ("brand", "x" * 257),
        ("tags", ["x"] * 65),
        ("attributes", {str(number): 1 for number in range(257)}),
        ("attributes", {"nested": {"a": 1}}),
    ],
)
def test_what_is_too_long_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Item.model_validate({"item_id": "i", field: value})


@pytest.mark.parametrize("body", [ItemBody, UserBody, EventBody])
def test_the_http_edge_refuses_an_unknown_field_by_name(body: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match=r"colour\n *Extra inputs are not permitted"):
        body.model_validate({"item_id": "i", "user_id": "u", "event_type": "e", "colour": "red"})


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=4))
def test_a_content_id_tells_its_parts_apart(parts: list[str]) -> None:
    assert content_id(*parts) == content_id(*parts)
    assert content_id(*parts, "") != content_id(*parts)
    joined = "".join(parts)
    assert parts == [joined] or content_id(*parts) != content_id(joined)
