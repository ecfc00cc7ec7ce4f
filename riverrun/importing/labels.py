"""Categories and tags: lists of short texts, however a column writes them."""

from collections.abc import Mapping
from typing import Any

from feature_repo.schema import MAX_LABEL
from riverrun.importing.json_values import plain_text
from riverrun.importing.mapping import ListSource
from riverrun.importing.nested import note_names_inside, parsed
from riverrun.importing.report import ImportReport
from riverrun.importing.text import normalise


def labels(
    field: str, source: ListSource, cells: Mapping[str, Any], limit: int, report: ImportReport
) -> tuple[str, ...]:
    """Return a row's labels, each once; invalid ones, and those over the limit, are counted.

    field: what the report calls them. cells: the row by columns. limit: how many labels to keep.
    """
    columns = source.columns if source.column is None else (source.column,)
    found = list(source.constant)
    for column in columns:
        parts = _parts(cells[column], source.separator)
        texts = [plain_text(part) for part in parts if not isinstance(part, dict | list)]
        if len(texts) < len(parts):
            report.repair(f"{field}: column {column!r} lists what is no text: left out", 1)
            note_names_inside([column], report)
        found += texts
    names = dict.fromkeys(normalise(text)[:MAX_LABEL] for text in found)
    names.pop("", None)
    report.repair(f"more than {limit} entries in a list: cut", int(len(names) > limit))
    return tuple(names)[:limit]


def _parts(cell: Any, separator: str | None) -> list[Any]:
    """Return the entries of a cell that are not null; an object is one entry."""
    if cell is None:
        return []
    if isinstance(cell, str) and (found := parsed(cell.strip())) is not None:
        cell = found
    if isinstance(cell, list):
        return [part for part in cell if part is not None]
    if isinstance(cell, dict):
        return [cell]
    text = plain_text(cell)
    return text.split(separator) if separator else [text]
