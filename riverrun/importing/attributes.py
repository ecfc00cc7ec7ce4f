"""Attributes of items and users: text, numbers and booleans, whatever the file's format."""

from collections.abc import Iterator
from decimal import Decimal
from math import isfinite
from typing import Any

from feature_repo.schema import MAX_ATTRIBUTES
from riverrun.importing.json_values import MAX_BYTES, json_object, load_json, plain_text
from riverrun.importing.mapping import MapSource
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.report import ImportReport
from riverrun.importing.text import normalise

Attributes = dict[str, Any]


def raw_attributes(batch: RawBatch, source: MapSource | None) -> Iterator[Attributes | str | None]:
    """Yield each row's values of the columns of `source`, or of its one, which may hold JSON."""
    if source is None:
        yield from [None] * batch.frame.height
        return
    if source.column is not None:
        yield from batch.frame[source.column].to_list()
        return
    columns = {name: _typed(batch, column) for name, column in source.fields.items()}
    for number in range(batch.frame.height):
        yield {name: column[number] for name, column in columns.items()}


def attributes_of(found: Attributes | str | None, report: ImportReport) -> Attributes:
    """Return a row's attributes; values that cannot be one are left out, and counted."""
    if not isinstance(found, dict):
        text = "" if found is None else str(found)
        found = (json_object(text, "attributes are", report) or {}) if text.strip() else {}
    attributes: Attributes = {}
    for name, raw in found.items():
        value = _value(raw)
        if isinstance(value, float) and not isfinite(value):
            report.repair("attribute is no finite number: left out", 1)
        elif value is not None and value != "":
            attributes[plain_text(name)] = value
    report.repair(f"more than {MAX_ATTRIBUTES} attributes: cut", len(attributes) > MAX_ATTRIBUTES)
    first = dict(list(attributes.items())[:MAX_ATTRIBUTES])
    fitting = _fitting(first)
    reason = f"attributes are more than {MAX_BYTES >> 10} KiB: some left out"
    report.repair(reason, len(fitting) < len(first))
    return fitting


def _typed(batch: RawBatch, column: str) -> list[Any]:
    values = batch.frame[column].to_list()
    if column not in batch.is_json:
        return values
    return [
        load_json(value) if is_json and value is not None else value
        for value, is_json in zip(values, batch.is_json[column], strict=True)
    ]


def _value(raw: Any) -> str | float | bool | None:
    if raw is None or isinstance(raw, bool | str):
        return normalise(raw) if isinstance(raw, str) else raw
    if isinstance(raw, int | float | Decimal):
        try:
            return float(raw)
        except OverflowError:
            return float("inf")
    if isinstance(raw, list):
        return ", ".join(normalise(plain_text(part)) for part in raw if part is not None)
    return normalise(plain_text(raw))


def _fitting(attributes: Attributes) -> Attributes:
    """Return the attributes, in order, that fit within the size limit beside those before."""
    room, kept = MAX_BYTES, {}
    for name, value in attributes.items():
        size = len(name.encode()) + (len(value.encode()) if isinstance(value, str) else 0)
        if size <= room:
            room -= size
            kept[name] = value
    return kept
