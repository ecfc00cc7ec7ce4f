"""What is read of a body is what was sent, to the last digit."""

import gzip
import json
import tracemalloc
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from serving.http.body import MAX_BYTES, gunzipped, parse_records, validate_record
from serving.http.ingest import _read_records
from serving.http.models import ItemBody
from serving.http.problems import MAX_ERRORS, Problem

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=5)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**20, -(10**30), 10**300])
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.from_regex(r"[0-9]{18,40}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class Record(BaseModel):
    """Keeps whatever it is given."""

    model_config = ConfigDict(extra="allow")


@given(DOCUMENTS)
@example(10**20)
@example({"order": [-(10**30), "12345678901234567890"]})
def test_a_record_is_read_as_it_was_sent(value: Any) -> None:
    (record,) = parse_records(json.dumps([{"in": value}]).encode())
    # By `repr`, for 1 == 1.0 == True.
    assert repr(record) == repr({"in": value})
    read = validate_record(Record, record, MAX_BYTES)
    assert isinstance(read, Record)
    assert repr(read.model_extra) == repr({"in": value})


@given(st.sampled_from(["", ", 100000000000000000000", ', "100000000000000000000"']), st.data())
def test_what_is_refused_is_refused_whatever_numbers_stand_beside_it(
    beside: str, data: st.DataObject
) -> None:
    bad = data.draw(st.sampled_from(["NaN", "1e999", "-Infinity", '"\\ud83d"', "[1,]", "01", ""]))
    body = f"[{bad}{beside}".encode() + b"]" if bad else b""
    with pytest.raises(orjson.JSONDecodeError) as reason:
        orjson.loads(body)
    with pytest.raises(Problem) as problem:
        parse_records(body)
    assert problem.value.status == 400
    assert problem.value.detail == f"The body is not JSON: {reason.value}."


@pytest.mark.parametrize("innermost", ["1", "100000000000000000000"])
def test_a_record_that_is_nested_too_deeply_leaves_the_others(innermost: str) -> None:
    deep = '{"in": ' + "[" * 400 + innermost + "]" * 400 + "}"
    first, second = parse_records(f'[{deep}, {{"in": 2}}]'.encode())
    errors = validate_record(Record, first, MAX_BYTES)
    assert isinstance(errors, list)
    assert errors[0].message == "must not be nested so deeply."
    assert isinstance(validate_record(Record, second, MAX_BYTES), Record)


@given(st.integers(1, 1500))
@example(190)
@example(250)
def test_digits_beside_what_is_nested_deeply_are_kept_or_nothing_is_read(depth: int) -> None:
    deep = '{"in": ' + "[" * depth + "]" * depth + "}"
    found: object
    try:
        _, found = parse_records(f'[{deep}, {{"in": {10**20}}}]'.encode())
    except Problem as problem:
        found = problem.status
    assert repr(found) == repr({"in": 10**20}) or (found == 400 and depth > 500)


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    body = b'{"a": 1, "a": 100000000000000000000}'
    assert parse_records(body) == [{"a": 10**20}]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_what_gzip_made_of_a_body_is_that_body_unless_it_is_too_large(
    body: bytes, max_bytes: int
) -> None:
    expected = body if len(body) <= max_bytes else None
    assert gunzipped(gzip.compress(body), max_bytes) == expected


@given(st.binary(max_size=300), st.data())
def test_what_is_not_whole_is_not_read(body: bytes, data: st.DataObject) -> None:
    whole = gzip.compress(body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="it is cut off"):
        gunzipped(whole[:cut], MAX_BYTES)
    with pytest.raises(ValueError, match="something follows its end"):
        gunzipped(whole + b"\n", MAX_BYTES)


def test_of_what_becomes_too_large_no_more_is_made_than_may_be() -> None:
    bomb = gzip.compress(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        assert gunzipped(bomb, 2**16) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_where_no_record_is_good_a_bounded_number_of_errors_is_listed() -> None:
    body = orjson.dumps([{}] * (MAX_ERRORS + 1))
    with pytest.raises(Problem) as caught:
        _read_records(ItemBody, "item_id", 1_000, body)
    assert [error.field for error in caught.value.errors] == [
        f"{index}.item_id" for index in range(MAX_ERRORS)
    ]
