"""Objects and lists in columns: names in them are columns, and none becomes text unsaid."""

import csv
import json
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.errors import UserError
from tests.riverrun.run_import import GOOD, HEAD, run

GOOD_EVENT: dict[str, Any] = dict(zip(HEAD.split(","), GOOD.split(","), strict=True))
FORMS = ("jsonl", "parquet", "csv", "python.csv")
ROWS: list[dict[str, Any]] = [
    {
        "meta": {"id": "a", "on": {"at": "2026-01-02"}},
        "title": {"en": "Pot", "de": "Topf"},
        "categories": [{"id": 5, "name": "Kitchen"}, {"id": 6, "name": "Pots"}],
        "price": {"amount": 12.5},
    },
    {
        "meta": {"id": "b", "on": {"at": None}},
        "title": {"en": None, "de": "Topf"},
        "categories": [],
        "price": {"amount": None},
    },
]
MAPPING = """
[items]
item_id = "meta.id"
title = "title.en"
categories = "categories.name"
price = { column = "price.amount", decimal = "," }
published_at = "meta.on.at"
attributes = { german = "title.de" }
"""


VISITORS: list[dict[str, Any]] = [
    {"actor": {"user": {"id": "ann"}, "session": "s1"}, "page": "tea"},
    {"actor": {"user": {"id": " "}, "session": "s2"}, "page": "pots"},
    {"actor": {"user": {"id": None}, "session": "s3"}, "page": None},
    {"actor": {"user": {"id": None}, "session": None}, "page": "tea"},
    {"actor": {"user": {"id": ["ann"]}, "session": "s4"}, "page": "tea"},
    {"actor": {"user": {"id": None}, "session": {"id": "s5"}}, "page": "tea"},
]


def write(folder: Path, form: str, rows: Sequence[dict[str, Any]]) -> Path:
    file = folder / f"items.{form}"
    if form == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist([*rows]), file)
    else:
        cell = str if form == "python.csv" else json.dumps
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(
                {k: cell(v) if isinstance(v, dict | list) else v for k, v in row.items()}
                for row in rows
            )
    return file


@pytest.mark.parametrize("form", FORMS)
def test_names_in_objects_are_columns_in_every_format(tmp_path: Path, form: str) -> None:
    archive, report = run("items", [write(tmp_path, form, ROWS)], MAPPING)
    first, second = archive.items
    assert (first.item_id, first.title, first.categories) == ("a", "Pot", ("Kitchen", "Pots"))
    assert (first.price, first.attributes) == (12.5, {"german": "Topf"})
    assert f"{first.published_at:%F}" == "2026-01-02"
    assert (second.item_id, second.title, second.categories) == ("b", "", ())
    assert report.repaired == {}


DECIMAL = pa.decimal128(10, 2)


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.struct({"w": DECIMAL}), {"w": Decimal("2.50")}),
        (pa.list_(pa.struct({"w": DECIMAL})), [{"w": Decimal("2.50")}]),
        (pa.map_(pa.string(), DECIMAL), [("w", Decimal("2.50"))]),
    ],
)
def test_a_decimal_in_an_object_is_read(tmp_path: Path, type_: pa.DataType, value: object) -> None:
    whole = pa.struct({"dims": type_, "number": pa.int64()})
    columns = {
        "item_id": pa.array(["a"]),
        "attributes": pa.array([{"dims": value, "number": 3}], whole),
    }
    file = tmp_path / "items.parquet"
    pyarrow.parquet.write_table(pa.table(columns), file)
    archive, report = run("items", [file])
    assert archive.items[0].attributes == {"dims": '{"w":"2.50"}', "number": 3}
    assert report.repaired == {}


def test_a_column_of_that_very_name_comes_first(tmp_path: Path) -> None:
    file = write(tmp_path, "jsonl", [{"i": "a", "t": {"en": "inner"}, "t.en": "outer"}])
    archive, _ = run("items", [file], '[items]\nitem_id = "i"\ntitle = "t.en"\n')
    assert archive.items[0].title == "outer"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_name_that_no_object_has_is_told(tmp_path: Path, form: str) -> None:
    file = write(tmp_path, form, ROWS)
    with pytest.raises(UserError, match=r"no column 'meta\.sku'"):
        run("items", [file], '[items]\nitem_id = "meta.sku"\n')


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("value", [{"en": "Pot"}, ["Pot"]])
def test_what_is_no_text_is_left_out_and_the_column_named(
    tmp_path: Path, form: str, value: object
) -> None:
    fields = ("title", "description", "brand")
    file = write(tmp_path, form, [{"item_id": "a"} | dict.fromkeys(fields, value)])
    archive, report = run("items", [file])
    (item,) = archive.items
    assert (item.title, item.description, item.brand) == ("", "", "")
    reason = "{0}: column '{0}' has an object or a list, not text: left out"
    assert report.repaired == {reason.format(field): 1 for field in fields}
    assert "a mapping names what is in the objects of 'title' as \"title.NAME\"." in report.notes


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", [*HEAD.split(",")[:3], "event_id"])
def test_an_object_is_no_id_and_no_type(tmp_path: Path, form: str, name: str) -> None:
    file = write(tmp_path, form, [GOOD_EVENT | {name: {"id": 5}}])
    archive, report = run("events", [file])
    assert archive.events.frame.is_empty()
    assert report.rejected == {f"{name}: column '{name}' has an object or a list, not text": 1}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_event_does_without_a_query_that_is_none(tmp_path: Path, form: str) -> None:
    row = GOOD_EVENT | {"query": ["x"], "request_id": {"a": 1}}
    archive, report = run("events", [write(tmp_path, form, [row])])
    (event,) = archive.events.frame.iter_rows(named=True)
    assert (event["query"], event["request_id"]) == (None, None)
    reason = "{0}: column '{0}' has an object or a list, not text: left out"
    assert report.repaired == {reason.format(each): 1 for each in ("query", "request_id")}


@pytest.mark.parametrize("kind", ["item", "user"])
def test_a_record_whose_id_is_an_object_is_rejected(tmp_path: Path, kind: str) -> None:
    key = f"{kind}_id"
    file = write(tmp_path, "jsonl", [{key: "a"}, {key: {"$oid": "b"}}])
    _, report = run(f"{kind}s", [file])
    assert report.rejected == {f"{key}: column '{key}' has an object or a list, not text": 1}
    mapping = f'[{kind}s]\n{key} = "{key}.$oid"\n'
    archive, report = run(f"{kind}s", [file], mapping)
    assert [getattr(record, key) for record in (*archive.items, *archive.users)] == ["b"]


@pytest.mark.parametrize("form", FORMS)
def test_a_category_is_no_object(tmp_path: Path, form: str) -> None:
    row = {"i": "a", "c": [{"id": 5, "name": "Kitchen"}], "t": {"id": 6}}
    mapping = '[items]\nitem_id = "i"\ncategories = "c"\ntags = ["t"]\n'
    archive, report = run("items", [write(tmp_path, form, [row])], mapping)
    (item,) = archive.items
    assert (item.categories, item.tags) == ((), ())
    assert report.repaired == {
        "categories: column 'c' lists what is no text: left out": 1,
        "tags: column 't' lists what is no text: left out": 1,
    }


words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)


@given(texts=st.lists(words, min_size=1, max_size=9, unique=True), form=st.sampled_from(FORMS))
def test_a_list_is_one_however_the_file_writes_it(texts: list[str], form: str) -> None:
    with TemporaryDirectory() as folder:
        file = write(Path(folder), form, [{"item_id": "a", "categories": texts, "tags": []}])
        archive, report = run("items", [file])
    expected = dict.fromkeys(unicodedata.normalize("NFC", text)[:256] for text in texts)
    assert archive.items[0].categories == tuple(expected)
    assert archive.items[0].tags == ()
    assert report.repaired == {}


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['Garden' 'Hand Tools']", ("Garden", "Hand Tools")),
        ("['Garden', None, 3]", ("Garden", "3")),
        ("('Garden', 'Tools')", ("('Garden', 'Tools')",)),
        ("[Garden] Tools", ("[Garden] Tools",)),
        ("{Garden}", ("{Garden}",)),
        ("[__import__('os')]", ("[__import__('os')]",)),
        ("[" * 300, ("[" * 256,)),
        ("[" + "-" * 9_000 + "1]", ("[" + "-" * 255,)),
        ("[]", ()),
    ],
)
def test_text_that_is_no_list_is_one_label(
    tmp_path: Path, cell: str, labels: tuple[str, ...]
) -> None:
    file = write(tmp_path, "csv", [{"item_id": "a", "categories": cell}])
    archive, _ = run("items", [file])
    assert archive.items[0].categories == labels


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_of_several_columns_the_first_that_is_filled_counts(tmp_path: Path, form: str) -> None:
    mapping = """
    [events]
    user_id = ["actor.user.id", "actor.session"]
    item_id = { columns = ["page"], default = "home" }
    event_type = { constant = "view" }
    timestamp = "at"
    """
    rows = [{**row, "at": "2026-01-01"} for row in VISITORS]
    archive, report = run("events", [write(tmp_path, form, rows)], mapping)
    found = archive.events.frame.sort("user_id").select("user_id", "item_id").rows()
    assert found == [("ann", "tea"), ("s2", "pots"), ("s3", "home")]
    reason = "user_id: column 'actor.user.id' or 'actor.session' has an object or a list, not text"
    assert report.rejected == {"no user_id": 1, reason: 2}


def test_a_file_in_which_nobody_is_known_has_visitors(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({**GOOD_EVENT, "user_id": None, "session": "s"}) + "\n")
    mapping = """
    [events]
    user_id = ["user", "session"]
    item_id = "item_id"
    event_type = "event_type"
    timestamp = "timestamp"
    """
    archive, report = run("events", [file], mapping)
    assert archive.events.frame["user_id"].to_list() == ["s"]
    assert report.notes == ["no row of a file has 'user', which the mapping names."]
