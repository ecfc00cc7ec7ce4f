"""JSONL files to batches of raw rows."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from feature_repo.schema import is_shallow
from riverrun.importing.mapping import FileFormat
from riverrun.importing.raw_files import (
    WRONG_ENCODING,
    RawBatch,
    check_names,
    encoding_of,
    open_file,
    position_on_disk,
)
from riverrun.importing.report import LINE, ImportReport


def read_jsonl(
    path: Path, settings: FileFormat, report: ImportReport, batch_rows: int
) -> Iterator[RawBatch]:
    """Yield the objects of a JSONL file; what is no string is JSON text."""
    encoding = encoding_of(path, settings)
    with open_file(path) as raw:
        if encoding == "utf-8-sig":
            stream: Iterator[bytes] = iter(raw)
        else:
            text = io.TextIOWrapper(raw, encoding, errors="replace")
            stream = (line.encode() for line in text)
        rows: list[dict[str, str | None]] = []
        lines: list[int] = []
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if not line:
                continue
            report.read += 1
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                reason = "line is not JSON"
                if "utf-8" in str(error).lower() or "surrogate" in str(error).lower():
                    reason = WRONG_ENCODING
                report.reject_one(str(path), number, reason, line.decode("utf-8", "replace"))
                continue
            if not isinstance(row, dict):
                shown = row if is_shallow(row) else line.decode("utf-8", "replace")
                report.reject_one(str(path), number, "line is no JSON object", shown)
                continue
            try:
                rows.append({name: _text(value) for name, value in row.items()})
            except RecursionError:
                reason = "line is nested too deep"
                report.reject_one(str(path), number, reason, line.decode("utf-8", "replace"))
                continue
            lines.append(number)
            if len(rows) >= batch_rows:
                yield _jsonl_batch(path, rows, lines, position_on_disk(raw))
                rows, lines = [], []
        if rows:
            yield _jsonl_batch(path, rows, lines, position_on_disk(raw))


def _jsonl_batch(
    path: Path, rows: list[dict[str, str | None]], lines: list[int], position: int
) -> RawBatch:
    names = list(dict.fromkeys(name for row in rows for name in row))
    check_names(path, names)
    columns = {
        name: pl.Series(name, [row.get(name) for row in rows], dtype=pl.String) for name in names
    }
    frame = pl.DataFrame({LINE: pl.Series(lines, dtype=pl.Int64)} | columns)
    return RawBatch(path, frame, position)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # It is nested deeper than orjson writes, though not than it reads.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
