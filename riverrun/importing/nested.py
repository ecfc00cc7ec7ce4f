"""Nested values in a column: the objects and lists of its cells, and names inside them."""

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from feature_repo.schema import is_shallow
from riverrun.importing.json_values import MAX_BYTES, load_json
from riverrun.importing.raw_files import RawBatch, json_column
from riverrun.importing.report import ImportReport

_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_NUMPY_LIST = re.compile(r"""\[\s*('[^'\\]*'|"[^"\\]*")(\s+('[^'\\]*'|"[^"\\]*"))*\s*\]""")


def not_text(field: str, columns: Sequence[str]) -> str:
    """Return the reason why an object or a list of one of the columns cannot be a text field."""
    return f"{field}: column {_either(columns)} has an object or a list, not text"


def note_names_inside(columns: Sequence[str], report: ImportReport) -> None:
    """Note how a mapping can read names inside the objects of a column."""
    name = f"{columns[0]}.NAME" if len(columns) == 1 else "COLUMN.NAME"
    report.note(f'a mapping names what is in the objects of {_either(columns)} as "{name}".')


def _either(columns: Sequence[str]) -> str:
    return " or ".join(map(repr, columns))


def parsed(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the object or list that is written in text as JSON or Python; None for other text."""
    if not text.startswith(("{", "[")):
        return None
    try:
        found = load_json(text)
    except ValueError:
        found = _python_literal(text)
    return found if isinstance(found, dict | list) and is_shallow(found) else None


def _python_literal(text: str) -> Any:
    """Return the list that Python, pandas or numpy wrote: ['a', "b's"], or ['a' 'b']; or None."""
    if len(text) > MAX_BYTES:
        return None
    if _NUMPY_LIST.fullmatch(text):
        return [part[1:-1] for part in re.findall(r"""'[^']*'|"[^"]*\"""", text)]
    try:
        return load_json(json.dumps(ast.literal_eval(text)))  # of types that JSON has, or none
    except _NO_LITERAL:
        return None


def with_names_inside(batch: RawBatch, name: str) -> RawBatch | None:
    """Return a batch with a column for a name in the objects of another: "title.en".

    For a list of objects it holds the list of their values. None where the batch has no such
    column.
    """
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        outer = ".".join(parts[:length])
        if outer in batch.frame.columns:
            return _with_inner(batch, name, batch.frame[outer], parts[length:])
    return None


def _with_inner(batch: RawBatch, name: str, column: pl.Series, path: list[str]) -> RawBatch | None:
    if column.dtype == pl.String:
        found = [None if text is None else _inside(parsed(text), path) for text in column.to_list()]
        return batch.with_column(*json_column(name, found))
    inner: pl.Series | None = column
    for key in path:
        inner = None if inner is None else _member(inner, key)
    return None if inner is None else batch.with_column(inner.alias(name), None)


def _inside(value: Any, path: list[str]) -> Any:
    if isinstance(value, list):
        found = [_inside(entry, path) for entry in value]
        return [entry for entry in found if entry is not None]
    if not path:
        return value
    return _inside(value.get(path[0]), path[1:]) if isinstance(value, dict) else None


def _member(column: pl.Series, key: str) -> pl.Series | None:
    is_list = isinstance(column.dtype, pl.List)
    type_ = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
    if not isinstance(type_, pl.Struct) or key not in {field.name for field in type_.fields}:
        return None
    if is_list:
        return column.list.eval(pl.element().struct.field(key))
    return column.struct.field(key)
