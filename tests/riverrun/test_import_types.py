"""What a column may hold: every type of Parquet, JSON of any depth, and names that are taken."""

import csv
import json
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.errors import UserError
from riverrun.importing.report import ImportReport
from tests.riverrun.memory_archive import MemoryArchive
from tests.riverrun.run_import import run

AT = datetime(2026, 1, 1, 12)  # noqa: DTZ001  # the column's type adds the time zone
SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")
EVENTS = """
[events]
user_id = "u"
item_id = "i"
event_type = { constant = "view" }
timestamp = "at"
"""


def imported(folder: Path, mapping: str, **columns: pa.Array) -> tuple[MemoryArchive, ImportReport]:
    """Import an event of a Parquet file with these columns besides, or instead."""
    whole = {
        "u": pa.array(["a"]),
        "i": pa.array(["b"]),
        "at": pa.array([AT], pa.timestamp("us", "UTC")),
    } | columns
    file = folder / "events.parquet"
    pyarrow.parquet.write_table(pa.table(whole), file)
    return run("events", [file], mapping)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([SOME_UUID.bytes], pa.uuid()), str(SOME_UUID)),
        (pa.array([SOME_UUID.bytes], pa.binary(16)), str(SOME_UUID)),
        (pa.array([b"abc"]), "abc"),
        (pa.array([Decimal(17850)], pa.decimal128(10, 0)), "17850"),
        (pa.array([Decimal(10**39)], pa.decimal256(40, 0)), str(10**39)),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (pa.array([17850.0]), "17850"),
        (pa.array([True]), "true"),
        (pa.array([time(1, 2)]), "01:02:00"),
    ],
)
def test_a_column_of_any_type_is_an_id(tmp_path: Path, column: pa.Array, text: str) -> None:
    archive, report = imported(tmp_path, EVENTS, u=column)
    assert archive.events.frame["user_id"].to_list() == [text]
    assert report.rejected == {}


@pytest.mark.parametrize(
    ("column", "context"),
    [
        (
            pa.array([[("k", "v"), ("l", "w")]], pa.map_(pa.string(), pa.string())),
            {"k": "v", "l": "w"},
        ),
        (pa.array([{"n": [1, 2], "b": True}]), {"n": [1, 2], "b": True}),
        (pa.array([[("k", [1])]], pa.map_(pa.string(), pa.list_(pa.int64()))), {"k": [1]}),
    ],
)
def test_structures_are_a_context(tmp_path: Path, column: pa.Array, context: Any) -> None:
    archive, _ = imported(tmp_path, EVENTS + 'context = "x"\n', x=column)
    assert orjson.loads(archive.events.frame["context"].item()) == context


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"b": b"\xff"}]),
        pa.array([[b"\xff"]]),
        pa.array([5], pa.duration("us")),
        pa.array([[SOME_UUID.bytes]], pa.list_(pa.binary(16))),
    ],
)
def test_a_column_that_cannot_be_read_is_named_where_it_is_needed(
    tmp_path: Path, column: pa.Array
) -> None:
    archive, _ = imported(tmp_path, EVENTS, x=column)
    assert archive.events.frame.height == 1
    with pytest.raises(UserError, match=r"column 'x' is of the type .*Write it as text"):
        imported(tmp_path, EVENTS + 'context = "x"\n', x=column)


def test_bytes_that_are_no_text_are_no_id(tmp_path: Path) -> None:
    with_bytes = pa.array([b"\xff\xfe", b"ok"])
    others = {"i": pa.array(["b", "b"]), "at": pa.array([AT, AT], pa.timestamp("us", "UTC"))}
    archive, report = imported(tmp_path, EVENTS, u=with_bytes, **others)
    assert archive.events.frame["user_id"].to_list() == ["ok"]
    assert report.rejected == {"no user_id": 1}
    (reject,) = (tmp_path / "events.rejected").read_bytes().splitlines()
    assert orjson.loads(reject)["line"] == 1


@pytest.mark.parametrize(("name", "message"), [("u", "'u' stands twice"), ("_line", "'_line'")])
@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_a_name_that_is_taken_is_told(tmp_path: Path, name: str, message: str, form: str) -> None:
    file = tmp_path / f"events.{form}"
    if form == "csv":
        file.write_text(f"u,i,at,{name}\na,b,2026-01-01,x\n")
    elif form == "jsonl":
        file.write_text(f'{{"u": "a", "i": "b", "at": "2026-01-01", "{name}": "a"}}\n')
    else:
        table = pa.table([pa.array(["a"])] * 4, names=["u", "i", "at", name])
        pyarrow.parquet.write_table(table, file)
    if form == "jsonl" and name == "u":
        archive, _ = run("events", [file], EVENTS)  # JSON has the last one
        assert archive.events.frame.height == 1
        return
    with pytest.raises(UserError, match=message):
        run("events", [file], EVENTS)


@pytest.mark.parametrize("depth", [50, 150, 300, 900, 1_020, 2_000])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_nested_too_deep_is_left_out(tmp_path: Path, depth: int, form: str) -> None:
    file = tmp_path / f"events.{form}"
    context = '{"a": ' + "[" * depth + "]" * depth + "}"
    if form == "csv":
        quoted = context.replace('"', '""')
        file.write_text(f'u,i,at,x\na,b,2026-01-01,"{quoted}"\nc,b,2026-01-01,\n')
    else:
        row = '{"u": "a", "i": "b", "at": "2026-01-01", "x": %s}\n'
        file.write_text(row % context + row % 1 + "[" * depth + "]" * depth + "\n")
    archive, report = run("events", [file], EVENTS + 'context = "x"\n')
    assert archive.events.frame.height >= 1
    kept = archive.events.frame["context"].drop_nulls().to_list()
    assert kept == [context.replace(" ", "")] * (depth <= 100)
    assert depth <= 100 or report.rejected or report.repaired


@pytest.mark.parametrize("mapped", [True, False])
def test_attributes_are_the_same_from_every_format(tmp_path: Path, mapped: bool) -> None:
    """A number stays one, a switch stays one, and text stays text, even of digits."""
    attributes = [
        {"weight": 12.5, "organic": True, "code": "007", "sizes": ["S", "M"], "count": 3},
        {"weight": None, "organic": False, "code": " 1.5\n", "sizes": [], "count": 2**53 - 1},
    ]
    jsonl, parquet = tmp_path / "items.jsonl", tmp_path / "items.parquet"
    rows = [
        {"item_id": f"i{n}", **(each if mapped else {"attributes": each})}
        for n, each in enumerate(attributes)
    ]
    jsonl.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), parquet)
    mapping = f'[items]\nitem_id = "item_id"\nattributes = {[*attributes[0]]}\n' if mapped else None
    for file in (jsonl, parquet):
        archive, report = run("items", [file], mapping)
        expected = [
            {"weight": 12.5, "organic": True, "code": "007", "sizes": "S, M", "count": 3.0},
            {"organic": False, "code": "1.5", "count": 2.0**53 - 1},
        ]
        assert repr([item.attributes for item in archive.items]) == repr(expected)
        assert report.repaired == {}


def test_a_number_that_is_none_costs_the_attribute_not_the_item(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    weights = pa.array([1.5, float("nan"), float("inf")])
    prices = pa.array([Decimal("19.99"), Decimal("1.50"), None])
    table = pa.table({"id": ["a", "b", "c"], "weight": weights, "tax": prices})
    pyarrow.parquet.write_table(table, file)
    mapping = '[items]\nitem_id = "id"\nattributes = ["weight", "tax"]\n'
    archive, report = run("items", [file], mapping)
    assert [item.attributes for item in archive.items] == [
        {"weight": 1.5, "tax": 19.99},
        {"tax": 1.5},
        {},
    ]
    assert report.repaired == {"attribute is no finite number: left out": 2}
    jsonl = tmp_path / "items.jsonl"
    jsonl.write_text('{"id": "a", "weight": 1%s, "tax": 1}\n' % ("0" * 400))
    archive, report = run("items", [jsonl], mapping)
    assert [item.attributes for item in archive.items] == [{"tax": 1.0}]


def test_what_no_log_takes_is_left_out(tmp_path: Path) -> None:
    """Every record of an import fits into a Kafka's, which may be a mebibyte by default."""
    long = "ü" * 40_000
    file = tmp_path / "users.jsonl"
    wide = {f"a{n:03d}": "ü" * 5_000 for n in range(9)}
    for key in ("context", "attributes"):
        others = {"item_id": "i", "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"}
        rows = [
            {"user_id": f"u{n}", key: value} | (others if key == "context" else {})
            for n, value in enumerate([{"a": "b"}, {"a": "b", "c": long}, wide])
        ]
        file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        if key == "context":
            archive, report = run("events", [file])
            assert archive.events.frame["context"].to_list() == ['{"a":"b"}', None, None]
            assert report.repaired == {"context is more than 64 KiB: left out": 2}
        else:
            archive, report = run("users", [file])
            sizes = [list(user.attributes) for user in archive.users]
            assert sizes == [["a"], ["a"], [f"a{n:03d}" for n in range(6)]]
            assert report.repaired == {"attributes are more than 64 KiB: some left out": 2}


def test_a_mapping_may_hold_constants_alone(tmp_path: Path) -> None:
    file = tmp_path / "items.csv"
    file.write_text("a\n1\n2\n")
    mapping = '[items]\nitem_id = { constant = "x" }\ntags = { constant = ["t"] }\n'
    archive, report = run("items", [file], mapping)
    assert [item.item_id for item in archive.items] == ["x"]
    assert (report.read, report.skipped.total()) == (2, 1)


def test_a_zone_of_the_column_counts(tmp_path: Path) -> None:
    at = pa.array([AT], pa.timestamp("us", "+01:00"))
    archive, _ = imported(tmp_path, EVENTS, at=at, other=at)
    assert archive.events.frame["timestamp"].to_list() == [AT.replace(tzinfo=UTC)]


INTEGERS = st.one_of(
    st.integers(),
    st.integers(2**62, 2**66),
    st.integers(-(2**66), -(2**62)),
    st.sampled_from([2**63, 2**64 - 1, 2**64, 10**20, 10**20 + 1, -(10**30)]),
)


@given(
    integers=st.lists(INTEGERS, min_size=2, max_size=5, unique=True),
    form=st.sampled_from(["csv", "jsonl"]),
    number=st.floats(-1e9, 1e9) | st.just(0.1234567890123456789),
)
def test_an_integer_keeps_all_its_digits(integers: list[int], form: str, number: float) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"events.{form}"
        rows = [
            {"u": each, "i": "b", "at": "2026-01-01", "x": {"order": each, "f": number}}
            for each in integers
        ]
        if form == "jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, [10**30]]))
        else:
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows({**row, "x": json.dumps(row["x"])} for row in rows)
        archive, report = run("events", [file], EVENTS + 'context = "x"\n')
    assert report.rejected == ({"line is no JSON object": 1} if form == "jsonl" else {})
    found = zip(archive.events.frame["user_id"], archive.events.frame["context"], strict=True)
    assert {user: json.loads(context) for user, context in found} == {
        str(each): {"order": each, "f": number} for each in integers
    }


ITEMS = """
[items]
item_id = "i"
title = "t"
categories = { columns = ["c", "d"] }
tags = "tags"
attributes = { a = "a" }
"""


def test_a_column_is_the_same_text_wherever_it_is_mapped_to(tmp_path: Path) -> None:
    columns = {
        "i": pa.array([b"i"]),
        "t": pa.array([b"Kettle"], pa.large_binary()),
        "c": pa.array(["Küche".encode()]),
        "d": pa.array([2.0]),
        "tags": pa.array([[1.0, None, 2.5]]),
        "a": pa.array(["Köln".encode()]),
    }
    file = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    archive, _ = run("items", [file], ITEMS)
    (item,) = archive.items
    assert (item.item_id, item.title) == ("i", "Kettle")
    assert item.categories == ("Küche", "2")
    assert item.tags == ("1", "2.5")
    assert item.attributes == {"a": "Köln"}


@pytest.mark.parametrize("kind", [pa.int32(), pa.string()])
def test_a_map_of_any_keys_is_attributes(tmp_path: Path, kind: pa.DataType) -> None:
    keys = [1, 2] if kind == pa.int32() else ["1", "2"]
    values = [[(keys[0], "red"), (keys[1], "XL")]]
    columns = {
        "item_id": pa.array(["i"]),
        "attributes": pa.array(values, pa.map_(kind, pa.string())),
    }
    file = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    archive, _ = run("items", [file])
    assert archive.items[0].attributes == {"1": "red", "2": "XL"}


def test_json_stays_json_in_attributes_and_keeps_its_digits(tmp_path: Path) -> None:
    long = 12345678901234567890123
    file = tmp_path / "items.jsonl"
    row = {
        "item_id": "i",
        "tags": [long, True, None],
        "attributes": {"size": {"w": 1, "h": None}, "list": [1, True, None, "x"]},
    }
    file.write_text(json.dumps(row))
    archive, _ = run("items", [file])
    (item,) = archive.items
    assert item.tags == (str(long), "true")
    assert item.attributes == {"size": '{"w":1,"h":null}', "list": "1, true, x"}


@pytest.mark.parametrize("decimal", ["auto", ",", "."])
@pytest.mark.parametrize("form", ["jsonl", "parquet", "wide.parquet"])
def test_a_number_of_the_file_is_itself_whatever_the_decimal_sign(
    tmp_path: Path, form: str, decimal: str
) -> None:
    prices = [12.5, 1234.567, 1e-7]
    file = tmp_path / f"items.{form}"
    if form == "jsonl":
        rows = [{"i": f"i{n}", "p": price} for n, price in enumerate(prices)]
        file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    else:
        type_ = pa.decimal256(40, 7) if form == "wide.parquet" else pa.float64()
        values = [Decimal(str(price)) for price in prices] if "wide" in form else prices
        table = pa.table({"i": ["i0", "i1", "i2"], "p": pa.array(values, type_)})
        pyarrow.parquet.write_table(table, file)
    price = f'price = {{ column = "p", decimal = "{decimal}" }}'
    archive, report = run("items", [file], f'[items]\nitem_id = "i"\n{price}\n')
    assert [item.price for item in archive.items] == prices
    assert report.repaired == {}


def test_a_number_that_json_has_as_text_is_read_by_the_decimal_sign(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"i": "a", "p": "1.234,5"}\n{"i": "b", "p": 12.5}\n{"i": "c", "p": "12.5"}\n')
    mapping = '[items]\nitem_id = "i"\nprice = { column = "p", decimal = "," }\n'
    archive, report = run("items", [file], mapping)
    assert [item.price for item in archive.items] == [1234.5, 12.5, None]
    assert report.repaired == {
        "price read by the rule for decimal signs": 1,
        "price cannot be read: left out": 1,
    }
