"""JSONL files to batches of raw rows."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO

import polars as pl

from feature_repo.schema import MAX_NESTING, is_shallow
from riverrun.importing.json_values import dump_json, load_json
from riverrun.importing.mapping import FileFormat
from riverrun.importing.raw_files import (
    MARK_BROKEN,
    MAX_LINE,
    SHOWN,
    WRONG_ENCODING,
    BatchSize,
    RawBatch,
    check_names,
    encoding_of,
    json_column,
    open_file,
    position_on_disk,
)
from riverrun.importing.report import LINE, ImportReport


def read_jsonl(
    path: Path, settings: FileFormat, report: ImportReport, size: BatchSize
) -> Iterator[RawBatch]:
    """Yield the objects of a JSONL file; values that are not strings become JSON text."""
    encoding = encoding_of(path, settings)
    with open_file(path) as raw:
        stream: IO[bytes] | TextIO = raw
        if encoding != "utf-8-sig":
            stream = io.TextIOWrapper(raw, encoding, errors=MARK_BROKEN)
        rows: list[dict[str, Any]] = []
        lines: list[int] = []
        characters = 0
        for number, line in enumerate(_lines(stream), start=1):
            if not line.strip():
                continue
            report.read += 1
            try:
                rows.append(_row(line))
            except _BadLineError as error:
                report.reject_one(str(path), number, str(error), error.shown)
                continue
            lines.append(number)
            characters += len(line)
            if len(rows) >= size.rows or characters >= size.bytes:
                yield _jsonl_batch(path, rows, lines, position_on_disk(raw))
                rows, lines, characters = [], [], 0
        if rows:
            yield _jsonl_batch(path, rows, lines, position_on_disk(raw))


class _BadLineError(ValueError):
    """Why a line gives no row; `shown` is the part of the line that the report shows."""

    def __init__(self, reason: str, line: bytes, row: Any = None) -> None:
        super().__init__(reason)
        self.shown = line.decode("utf-8", "replace") if row is None else row


def _lines(stream: IO[bytes] | TextIO) -> Iterator[bytes]:
    """Yield lines in UTF-8 without a byte order mark; of a line that is too long, its beginning."""
    mark = b"\xef\xbb\xbf"
    while line := stream.readline(MAX_LINE):
        # The marks of broken text must stay invalid in UTF-8 too.
        encoded = line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
        yield encoded.removeprefix(mark)
        mark = b""
        rest = line
        while len(rest) == MAX_LINE and rest[-1] not in ("\n", 10):
            rest = stream.readline(MAX_LINE)


def _row(line: bytes) -> dict[str, Any]:
    if len(line) >= MAX_LINE:
        raise _BadLineError(f"line is longer than {MAX_LINE:,} bytes", line[:SHOWN])
    line = line.strip()
    try:
        row = load_json(line)
    except ValueError:
        reason = "line is not JSON" if _is_utf8(line) else WRONG_ENCODING
        raise _BadLineError(reason, line) from None
    if not isinstance(row, dict):
        raise _BadLineError("line is no JSON object", line, row if is_shallow(row) else None)
    if line.count(b"[") + line.count(b"{") > MAX_NESTING:
        try:
            dump_json(row)
        except RecursionError:
            raise _BadLineError("line is nested too deep", line) from None
    return row


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _jsonl_batch(
    path: Path, rows: list[dict[str, Any]], lines: list[int], position: int
) -> RawBatch:
    names = list(dict.fromkeys(name for row in rows for name in row))
    check_names(path, names)
    batch = RawBatch(path, pl.DataFrame({LINE: pl.Series(lines, dtype=pl.Int64)}), position)
    for name in names:
        batch = batch.with_column(*json_column(name, [row.get(name) for row in rows]))
    return batch
