"""CSV and TSV files to batches of raw rows."""

import csv
import io
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TextIO

import polars as pl

from riverrun.errors import UserError
from riverrun.importing.mapping import FileFormat
from riverrun.importing.raw_files import (
    BROKEN,
    MARK_BROKEN,
    MAX_LINE,
    SHOWN,
    WRONG_ENCODING,
    BatchSize,
    RawBatch,
    check_names,
    encoding_of,
    open_file,
    position_on_disk,
    without_broken,
)
from riverrun.importing.report import LINE, ImportReport

MAX_FIELD = 1 << 20
STRAY_QUOTE = "a quote is not closed, or stands inside a quoted field"
TOO_LONG = f"a field is longer than {MAX_FIELD:,} characters, or its quote is not closed"


class _Lines:
    """The lines of a text file, which can be read again from a record's second line on."""

    def __init__(self, text: TextIO) -> None:
        self.number = 1
        """Of the line with which the current record begins."""
        self.characters = 0
        """Of all lines that records have been read from."""
        self._text = text
        self._again: deque[str] = deque()
        self._record: list[str] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        if not line:
            raise StopIteration
        self._record.append(line)
        if len(line) == MAX_LINE:
            raise csv.Error("line beyond the limit")
        return line

    def _read(self) -> str:
        line = rest = self._text.readline(MAX_LINE)
        while len(rest) == MAX_LINE and not rest.endswith(("\r", "\n")):
            rest = self._text.readline(MAX_LINE)
        return line

    def is_broken(self) -> bool:
        """Return whether the current record has bytes that are not in the file's encoding."""
        return BROKEN in "".join(self._record)

    def next_record(self) -> None:
        """Let a new record begin with the next line."""
        self.number += len(self._record)
        self.characters += sum(map(len, self._record))
        self._record.clear()

    def give_back(self) -> str:
        """Let a new record begin with the second line of this one; return the first."""
        first, *rest = self._record
        self._again.extendleft(reversed(rest))
        self.number += 1
        self._record.clear()
        return without_broken(first).rstrip("\r\n")


def read_csv(
    path: Path, settings: FileFormat, report: ImportReport, size: BatchSize, *, tabs: bool
) -> Iterator[RawBatch]:
    """Yield the rows of a CSV file, or with `tabs` of a TSV file, as strings.

    A quote that is not closed would swallow the lines up to the next quote: such a record is
    rejected, and reading goes on with the line after its first. A column without a name is left
    out, and the report says so.
    """
    csv.field_size_limit(MAX_FIELD)
    with ExitStack() as stack:
        raw = stack.enter_context(open_file(path))
        text = stack.enter_context(
            io.TextIOWrapper(raw, encoding_of(path, settings), errors=MARK_BROKEN, newline="")
        )
        lines = _Lines(text)
        header = list(settings.columns or _header(path, lines, settings, tabs=tabs))
        _check_header(path, header, settings, report)
        rows: list[list[str]] = []
        numbers: list[int] = []
        start = lines.characters
        for row in _records(path, lines, settings, report, tabs=tabs):
            if lines.is_broken():
                report.read += 1
                shown = [without_broken(value) for value in row]
                report.reject_one(str(path), lines.number, WRONG_ENCODING, _named(header, shown))
            elif row:
                rows.append(row)
                numbers.append(lines.number)
            if len(rows) >= size.rows or lines.characters - start >= size.bytes:
                yield _csv_batch(path, header, rows, numbers, position_on_disk(raw), report)
                rows, numbers, start = [], [], lines.characters
        if rows:
            yield _csv_batch(path, header, rows, numbers, position_on_disk(raw), report)


def _reader(lines: _Lines, settings: FileFormat, *, tabs: bool) -> Iterator[list[str]]:
    return csv.reader(
        lines,
        delimiter="\t" if tabs else settings.delimiter,
        quoting=csv.QUOTE_MINIMAL if settings.quotes else csv.QUOTE_NONE,
        strict=True,
    )


def _header(path: Path, lines: _Lines, settings: FileFormat, *, tabs: bool) -> list[str]:
    try:
        header = next(_reader(lines, settings, tabs=tabs), [])
    except csv.Error as error:
        raise UserError(f"{path}: the header cannot be read: {_reason(error)}.") from None
    lines.next_record()
    return [without_broken(name).strip() for name in header]


def _records(
    path: Path, lines: _Lines, settings: FileFormat, report: ImportReport, *, tabs: bool
) -> Iterator[list[str]]:
    """Yield every record, with `lines.number` at its first line; reject lines that are none."""
    while True:
        try:
            for row in _reader(lines, settings, tabs=tabs):
                yield row
                lines.next_record()
            return
        except csv.Error as error:
            report.read += 1
            number = lines.number
            first = lines.give_back()
            shown = first[:SHOWN] if len(first) == MAX_LINE else first
            report.reject_one(str(path), number, _reason(error), shown)


def _reason(error: csv.Error) -> str:
    return TOO_LONG if "limit" in str(error) else STRAY_QUOTE


def _check_header(
    path: Path, header: list[str], settings: FileFormat, report: ImportReport
) -> None:
    check_names(path, [name for name in header if name])
    if not any(header):
        raise UserError(f"{path}: the first line is empty, where the names of columns stand.")
    if "" in header:
        report.note(f"{path}: column {header.index('') + 1} has no name: left out.")
    if len(header) == 1 and settings.delimiter == "," and any(c in header[0] for c in ";\t|"):
        raise UserError(
            f"{path}: the header is one column, {header[0]!r}. Set `delimiter` under [file] of "
            "the mapping."
        )


def _csv_batch(
    path: Path,
    header: list[str],
    rows: list[list[str]],
    lines: list[int],
    position: int,
    report: ImportReport,
) -> RawBatch:
    report.read += len(rows)
    width = len(header)
    # Where only the header ends in a delimiter, rows lack the columns without names.
    least = max(number for number, name in enumerate(header, start=1) if name)
    if any(not least <= len(row) <= width for row in rows):
        kept: list[list[str]] = []
        kept_lines: list[int] = []
        for row, line in zip(rows, lines, strict=True):
            if least <= len(row) <= width:
                kept.append(row)
                kept_lines.append(line)
            else:
                reason = (
                    "line has too many fields" if len(row) > width else "line has too few fields"
                )
                report.reject_one(str(path), line, reason, row)
        rows, lines = kept, kept_lines
    frame = pl.DataFrame(
        {LINE: pl.Series(lines, dtype=pl.Int64)}
        | {
            name: pl.Series(name, [row[number] for row in rows], dtype=pl.String)
            for number, name in enumerate(header)
            if name
        }
    )
    return RawBatch(path, frame, position)


def _named(header: list[str], row: list[str]) -> dict[str, str] | list[str]:
    return dict(zip(header, row, strict=True)) if len(row) == len(header) else row
