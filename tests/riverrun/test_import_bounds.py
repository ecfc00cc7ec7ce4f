"""As much as the schema takes is kept as it is; what is more costs as little as may be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from feature_repo.schema import (
    MAX_ATTRIBUTES,
    MAX_CATEGORIES,
    MAX_DESCRIPTION,
    MAX_IDENTIFIER,
    MAX_LABEL,
    MAX_PRICE,
    MAX_QUERY,
    MAX_TAGS,
    MAX_TITLE,
    MAX_VALUE,
    Item,
)
from riverrun.importing.report import ImportReport
from tests.riverrun.memory_archive import MemoryArchive
from tests.riverrun.run_import import run

EVENT = {"user_id": "u", "item_id": "i", "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"}


def imported(
    kind: str, folder: Path, rows: Sequence[dict[str, Any]]
) -> tuple[MemoryArchive, ImportReport]:
    file = folder / f"{kind}.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return run(kind, [file])


def item_of(folder: Path, **fields: Any) -> tuple[Item, ImportReport]:
    archive, report = imported("items", folder, [{"item_id": "i"} | fields])
    (item,) = archive.items
    return item, report


@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_out_of_range_is_left_out(tmp_path: Path, sign: int) -> None:
    values = [sign * MAX_VALUE, sign * (MAX_VALUE + 1), sign * 2.5, 0.0]
    rows = [EVENT | {"event_id": f"e{n}", "value": value} for n, value in enumerate(values)]
    archive, report = imported("events", tmp_path, rows)
    kept = dict(archive.events.frame.select("event_id", "value").iter_rows())
    assert kept == {"e0": values[0], "e1": None, "e2": values[2], "e3": 0.0}
    assert report.repaired == {"value out of range: left out": 1}


@pytest.mark.parametrize("name", ["user_id", "item_id", "event_id"])
def test_an_id_that_is_too_long_costs_the_event(tmp_path: Path, name: str) -> None:
    rows = [EVENT | {name: "x" * length} for length in (MAX_IDENTIFIER, MAX_IDENTIFIER + 1)]
    archive, report = imported("events", tmp_path, rows)
    assert archive.events.frame[name].to_list() == [rows[0][name]]
    assert report.rejected == {f"{name} is longer than {MAX_IDENTIFIER} characters": 1}


def test_the_id_of_a_request_and_a_query_that_are_too_long_do_not(tmp_path: Path) -> None:
    rows = [
        EVENT
        | {
            "event_id": f"e{more}",
            "request_id": "r" * (MAX_IDENTIFIER + more),
            "query": "q" * (MAX_QUERY + more),
        }
        for more in (0, 1)
    ]
    archive, report = imported("events", tmp_path, rows)
    assert archive.events.frame["request_id"].to_list() == ["r" * MAX_IDENTIFIER, None]
    assert archive.events.frame["query"].to_list() == ["q" * MAX_QUERY] * 2
    assert report.repaired == {
        "request_id unusable: left out": 1,
        f"query cut to {MAX_QUERY} characters": 1,
    }


@pytest.mark.parametrize(
    ("field", "most"),
    [("title", MAX_TITLE), ("description", MAX_DESCRIPTION), ("brand", MAX_LABEL)],
)
def test_a_text_that_is_too_long_is_cut(tmp_path: Path, field: str, most: int) -> None:
    item, report = item_of(tmp_path, **{field: "x" * most})
    assert (getattr(item, field), report.repaired) == ("x" * most, {})
    item, report = item_of(tmp_path, **{field: "x" * (most + 1)})
    assert getattr(item, field) == "x" * most
    assert report.repaired.total() == 1


@pytest.mark.parametrize(("field", "most"), [("categories", MAX_CATEGORIES), ("tags", MAX_TAGS)])
def test_a_list_that_is_too_long_is_cut(tmp_path: Path, field: str, most: int) -> None:
    labels = [f"label {number}" for number in range(most + 1)]
    item, report = item_of(tmp_path, **{field: labels[:most]})
    assert (getattr(item, field), report.repaired) == (tuple(labels[:most]), {})
    item, report = item_of(tmp_path, **{field: labels})
    assert getattr(item, field) == tuple(labels[:most])
    assert report.repaired == {f"more than {most} entries in a list: cut": 1}


def test_of_too_many_attributes_the_first_are_kept(tmp_path: Path) -> None:
    attributes = {f"a{number}": float(number) for number in range(MAX_ATTRIBUTES + 1)}
    first = dict(list(attributes.items())[:MAX_ATTRIBUTES])
    item, report = item_of(tmp_path, attributes=first)
    assert (item.attributes, report.repaired) == (first, {})
    item, report = item_of(tmp_path, attributes=attributes)
    assert item.attributes == first
    assert report.repaired == {f"more than {MAX_ATTRIBUTES} attributes: cut": 1}


def test_a_price_out_of_range_is_left_out(tmp_path: Path) -> None:
    assert item_of(tmp_path, price=MAX_PRICE)[0].price == MAX_PRICE
    item, report = item_of(tmp_path, price=MAX_PRICE + 1)
    assert item.price is None
    assert report.repaired.total() == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [(2.0, "2"), (2.5, "2.5"), (2.0**53 - 1, "9007199254740991"), (1e300, "1e+300")],
)
def test_a_number_is_a_text_as_it_is_written_and_not_longer(
    tmp_path: Path, number: float, text: str
) -> None:
    """Beyond 2^53 a float names no one integer: its digits would be made up."""
    item, _ = item_of(tmp_path, tags=[number], attributes={"sizes": [number]})
    assert item.tags == (text,)
    assert item.attributes == {"sizes": text}
