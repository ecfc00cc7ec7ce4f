"""What the decoder accepts can be kept wherever records are kept, to the last digit."""

import json
from datetime import UTC, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from feature_repo.archive import EVENT_SCHEMA, Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS, LogRecord, TopicPartition
from feature_repo.schema import Event, Item, User
from serving.item_changelog import ItemUpsert, decode_change, encode_change
from streaming.decode import DecodeError, Decoder
from streaming.stored_values import decode_records, encode_stored
from tests.support.stream import event, item, user

DECODER = Decoder((), timedelta(days=1))
BASES = {EVENTS: event(1), ITEMS: item(1), USERS: user(1)}
FIELDS = {EVENTS: "context", ITEMS: "attributes", USERS: "attributes"}
KEYS = {EVENTS: "u", ITEMS: "i1", USERS: "u1"}


def nested(value: Any, depth: int) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


# What a producer's JSON library may write, lone surrogates, NaN and infinity included.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=5)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**20, -(10**30), 10**400]),
    st.floats(),
    TEXTS,
)
VALUES = st.one_of(
    st.recursive(
        SCALARS | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
    st.builds(nested, SCALARS, st.integers(90, 205)),
)
FIELDS_OF_TOPICS = st.one_of(
    st.tuples(st.just(EVENTS), st.dictionaries(TEXTS, VALUES, max_size=2)),
    st.tuples(st.sampled_from([ITEMS, USERS]), st.dictionaries(TEXTS, SCALARS, max_size=2)),
)
NEW_FIELDS = st.dictionaries(st.from_regex(r"new_[a-z]{1,3}", fullmatch=True), VALUES, max_size=2)


def log_record(topic: str, field: dict[str, Any], new: dict[str, Any]) -> LogRecord:
    document = json.loads(BASES[topic].model_dump_json()) | {FIELDS[topic]: field} | new
    return LogRecord(TopicPartition(topic, 0), 1, KEYS[topic], json.dumps(document).encode())


def archived(change: Event | Item | User) -> Any:
    """Return what the archive gives back of a record."""
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        if isinstance(change, Item):
            archive.write_items("s", [change])
            return archive.items()[0]
        if isinstance(change, User):
            archive.write_users("s", [change])
            return archive.users()[0]
        archive.events.write("s", [change], [1])
        (row,) = archive.events.scan().collect().to_dicts()
        at = row["timestamp"].astimezone(UTC)
        return {**row, "timestamp": at, "context": from_json(row["context"] or "{}")}


@settings(max_examples=100)
@given(FIELDS_OF_TOPICS, NEW_FIELDS)
@example((EVENTS, {"order": 10**20}), {})
@example((ITEMS, {}), {"new_a": 10**400})
@example((USERS, {}), {"new_a": float("nan")})
@example((ITEMS, {}), {"new_a": nested(1, 199)})
def test_what_is_accepted_comes_back_as_it_was(
    sent: tuple[str, dict[str, Any]], new: dict[str, Any]
) -> None:
    topic, field = sent
    try:
        change = DECODER.decode(log_record(topic, field, new))
    except DecodeError:
        return
    assert isinstance(change, Event | Item | User)
    # By `repr`, for 1 == 1.0 == True.
    if isinstance(change, Event):
        own = {name: getattr(change, name) for name in EVENT_SCHEMA.names()}
        extra = change.model_extra or {}
        assert repr(archived(change)) == repr({**own, "context": {**extra, **change.context}})
        return
    comes_back(change)


def test_an_item_that_is_refused_now_and_was_taken_before_comes_back_too() -> None:
    comes_back(Item(item_id="a/similar", title="kettle"))


def comes_back(change: Item | User) -> None:
    """Check that archive, state and changelog give back what they are given."""
    assert repr(archived(change)) == repr(change)
    kept = decode_records(type(change), [("any", encode_stored(change))])
    assert repr(kept["any"]) == repr(change)
    if isinstance(change, Item):
        message = encode_change(ItemUpsert(change, np.zeros(2, np.float32), "v"))
        told = decode_change(LogRecord(TopicPartition("item-embeddings", 0), 1, *message))
        assert isinstance(told, ItemUpsert)
        assert repr(told.item) == repr(change)


@pytest.mark.parametrize(
    ("topic", "field", "new", "reason"),
    [
        (EVENTS, {"a": [float("nan")]}, {}, r"`context\.a.*finite"),
        (EVENTS, {}, {"new_a": {"b": float("inf")}}, r"`new_a.*finite"),
        (ITEMS, {"a": float("-inf")}, {}, r"`attributes\.a.*finite|`attributes\.a"),
        (USERS, {"a": 10**400}, {}, r"`attributes\.a"),
        (ITEMS, {}, {"new_a": nested(1, 150)}, r"`new_a`.* nested at most 100 deep"),
        (USERS, {}, {"new_a": "\ud800"}, "Invalid JSON.*surrogate|Invalid JSON.*hex escape"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(
    topic: str, field: dict[str, Any], new: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DecodeError, match=reason):
        DECODER.decode(log_record(topic, field, new))
