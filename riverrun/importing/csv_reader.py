"""CSV and TSV files to batches of raw rows."""

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl

from riverrun.errors import UserError
from riverrun.importing.mapping import FileFormat
from riverrun.importing.raw_files import (
    WRONG_ENCODING,
    RawBatch,
    encoding_of,
    open_file,
    position_on_disk,
)
from riverrun.importing.report import LINE, ImportReport

MAX_FIELD = 1 << 20
REPLACEMENT = "\ufffd"


def read_csv(
    path: Path, settings: FileFormat, report: ImportReport, batch_rows: int, *, tabs: bool
) -> Iterator[RawBatch]:
    """Yield the rows of a CSV file, or with `tabs` of a TSV file, as strings."""
    csv.field_size_limit(MAX_FIELD)
    with ExitStack() as stack:
        raw = stack.enter_context(open_file(path))
        text = stack.enter_context(
            io.TextIOWrapper(raw, encoding_of(path, settings), errors="replace", newline="")
        )
        reader = csv.reader(text, delimiter="\t" if tabs else settings.delimiter)
        try:
            header = list(settings.columns) if settings.columns else next(reader)
            header = [name.strip() for name in header]
            _check_header(path, header, settings)
            rows: list[list[str]] = []
            lines: list[int] = []
            line = reader.line_num
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(line + 1)
                line = reader.line_num
                if len(rows) >= batch_rows:
                    yield _csv_batch(path, header, rows, lines, position_on_disk(raw), report)
                    rows, lines = [], []
        except csv.Error as error:
            raise UserError(
                f"{path}: line {reader.line_num}: {error}. Is a quote not closed?"
            ) from None
        if rows:
            yield _csv_batch(path, header, rows, lines, position_on_disk(raw), report)


def _check_header(path: Path, header: list[str], settings: FileFormat) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} stands twice in the header.")
    if "" in header:
        raise UserError(
            f"{path}: column {header.index('') + 1} has no name. Header: {', '.join(header)}."
        )
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
    if any(len(row) != width for row in rows):
        kept: list[list[str]] = []
        kept_lines: list[int] = []
        for row, line in zip(rows, lines, strict=True):
            if len(row) == width:
                kept.append(row)
                kept_lines.append(line)
            else:
                reason = (
                    "line has too many fields" if len(row) > width else "line has too few fields"
                )
                report.reject_one(str(path), line, reason, row)
        rows, lines = kept, kept_lines
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    frame = pl.DataFrame(
        {LINE: pl.Series(lines, dtype=pl.Int64)}
        | {
            name: pl.Series(name, column, dtype=pl.String)
            for name, column in zip(header, columns, strict=True)
        }
    )
    return RawBatch(path, _without_broken_text(path, frame, report), position)


def _without_broken_text(path: Path, frame: pl.DataFrame, report: ImportReport) -> pl.DataFrame:
    broken = frame.select(
        pl.any_horizontal(pl.exclude(LINE).str.contains(REPLACEMENT, literal=True)).fill_null(False)
    ).to_series()
    if not broken.any():
        return frame
    report.reject(
        str(path),
        frame.filter(broken).with_columns(_reason=pl.lit(WRONG_ENCODING)),
    )
    return frame.filter(~broken)
