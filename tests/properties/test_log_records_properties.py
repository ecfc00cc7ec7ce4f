"""Records of every version are read, and nothing that is in them is lost."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from feature_repo.archive import Archive, events_frame
from feature_repo.event_log import DEAD_LETTERS, ITEM_EMBEDDINGS, LogRecord, TopicPartition
from feature_repo.log_records import decode_record, encode_record, json_schema, upgrade
from feature_repo.schema import SCHEMA_VERSION, Event, Item, User
from serving.item_changelog import (
    ItemChangeRecord,
    ItemMove,
    ItemUpsert,
    decode_change,
    encode_change,
)
from streaming.dead_letters import (
    DeadLetter,
    DeadLetterRecord,
    decode_dead_letter,
    encode_dead_letter,
)
from tests.support.records import EVENT_TYPES, IDENTIFIERS, ITEMS, TEXTS, TIMESTAMPS, USERS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.builds(
    Event,
    event_id=IDENTIFIERS,
    user_id=IDENTIFIERS,
    item_id=IDENTIFIERS,
    event_type=EVENT_TYPES,
    timestamp=TIMESTAMPS,
    value=st.none() | st.floats(-1e12, 1e12),
    context=st.dictionaries(TEXTS, JSON, max_size=3),
)
RECORDS = st.one_of(EVENTS, ITEMS, USERS)
NEW_FIELDS = st.dictionaries(st.from_regex(r"new_[a-z]{1,8}", fullmatch=True), JSON, max_size=3)


@given(RECORDS)
def test_a_record_is_read_as_written(record: Event | Item | User) -> None:
    written = encode_record(record)
    assert json.loads(written)["version"] == SCHEMA_VERSION
    assert decode_record(type(record), written) == record


@given(RECORDS)
def test_a_record_without_a_version_is_read(record: Event | Item | User) -> None:
    assert decode_record(type(record), record.model_dump_json()) == record


@given(RECORDS, NEW_FIELDS, st.integers(0, 9))
def test_unknown_fields_are_kept(
    record: Event | Item | User, new: dict[str, Any], version: int
) -> None:
    document = {**json.loads(encode_record(record)), **new, "version": version}
    read = decode_record(type(record), json.dumps(document).encode())
    assert {name: getattr(read, name) for name in type(record).model_fields} == {
        name: getattr(record, name) for name in type(record).model_fields
    }
    again = json.loads(encode_record(read))
    assert {name: again[name] for name in new} == new
    assert again["version"] == max(version, SCHEMA_VERSION)
    assert decode_record(type(record), encode_record(read)) == read


@pytest.mark.parametrize("version", ["1", -1, 1.5, True, None])
def test_what_is_no_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=r"`version` must be a whole number from 0. Received"):
        decode_record(User, json.dumps({"user_id": "u", "version": version}))


def test_a_newer_version_must_still_make_sense() -> None:
    with pytest.raises(ValidationError, match="user_id"):
        decode_record(User, b'{"user_id": "", "version": 99}')


@given(st.integers(0, 5), st.integers(1, 5))
def test_every_step_from_an_old_version_is_taken_once(version: int, current: int) -> None:
    def step(number: int) -> Any:
        return lambda document: {**document, "steps": [*document.get("steps", []), number]}

    read = upgrade({"version": version}, current, {each: step(each) for each in range(current)})
    if version > current:
        assert read == {"version": version}
    else:
        assert read.get("steps", []) == list(range(version, current))
        assert "version" not in read


def test_the_archive_keeps_unknown_fields(tmp_path: Any) -> None:
    item = decode_record(Item, b'{"item_id": "i", "size": [1, 2], "version": 7}')
    archive = Archive(tmp_path)
    archive.write_items("s", [item])
    (kept,) = archive.items()
    assert kept == item
    assert kept.model_extra == {"size": [1, 2], "version": 7}
    event = decode_record(
        Event,
        b'{"event_id":"e","user_id":"u","item_id":"i","event_type":"view",'
        b'"timestamp":"2026-01-01T00:00:00Z","context":{"page":"home"},"place":3}',
    )
    assert json.loads(events_frame([event])["context"][0]) == {"page": "home", "place": 3}


@given(RECORDS, NEW_FIELDS)
def test_what_is_written_is_of_the_published_schema(
    record: Event | Item | User, new: dict[str, Any]
) -> None:
    import jsonschema_rs

    document = {**json.loads(encode_record(record)), **new}
    assert jsonschema_rs.is_valid(json_schema(type(record)), document)


@given(ITEMS, st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_item_changes_are_of_the_published_schema_and_read_without_a_version(
    item: Item, values: list[float]
) -> None:
    import jsonschema_rs

    embedding = np.array(values, np.float32)
    for change in (ItemUpsert(item, embedding, "b"), ItemMove(item.item_id, embedding, "b")):
        message = encode_change(change)
        document = json.loads(message.value or b"")
        assert document.pop("version") == SCHEMA_VERSION
        earlier = json.dumps(document).encode()
        for value in (message.value or b"", earlier):
            assert jsonschema_rs.is_valid(json_schema(ItemChangeRecord), json.loads(value))
            place = TopicPartition(ITEM_EMBEDDINGS, 0)
            read = decode_change(LogRecord(place, 1, message.key, value))
            assert isinstance(read, type(change))
            assert encode_change(read) == message


@given(st.none() | TEXTS, st.none() | st.binary(max_size=9), TEXTS, st.sampled_from([None, 1]))
def test_dead_letters_are_of_the_published_schema_and_read_without_a_version(
    key: str | None, value: bytes | None, reason: str, max_bytes: int | None
) -> None:
    import jsonschema_rs

    letter = DeadLetter(LogRecord(TopicPartition("events", 2), 7, key, value, 5), reason)
    message = encode_dead_letter(letter, max_bytes)
    document = json.loads(message.value or b"")
    assert jsonschema_rs.is_valid(json_schema(DeadLetterRecord), document)
    assert document.pop("version") == SCHEMA_VERSION
    # Letters of before there were moments, or too large ones, have neither.
    for field in ("moment", "is_whole") if max_bytes is None else ():
        assert jsonschema_rs.is_valid(json_schema(DeadLetterRecord), document)
        document.pop(field)
    place = TopicPartition(DEAD_LETTERS, 0)
    read, again = (
        decode_dead_letter(LogRecord(place, 1, message.key, each))
        for each in (message.value, json.dumps(document).encode())
    )
    assert read.reason == again.reason == reason
    assert read.record[:4] == again.record[:4]
    assert read.is_whole == again.is_whole == (max_bytes is None)
