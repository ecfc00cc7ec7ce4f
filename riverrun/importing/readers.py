"""Files to batches of raw rows: CSV, JSONL and Parquet, each also gzipped, of any size.

A batch is a frame of raw columns and `_line`. CSV and JSONL give strings (JSON text for what is
no string), Parquet gives its own types. Lines that cannot be read go to the report.
"""

import csv
import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl
import pyarrow
import pyarrow.parquet

from riverrun.errors import UserError
from riverrun.importing.mapping import FileFormat
from riverrun.importing.report import LINE, ImportReport

BATCH_ROWS = 200_000
MAX_FIELD = 1 << 20
FORMATS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
REPLACEMENT = "\ufffd"
WRONG_ENCODING = "bytes are not in the file's encoding"
MAGIC = {
    b"PK\x03\x04": "a zip or Excel file: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save the sheet as CSV",
    b"BZh": "a bzip2 file: unpack it or use gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it or use gzip",
    b"%PDF": "a PDF file",
}


@dataclass(frozen=True, eq=False)
class RawBatch:
    """Rows of one file. `position`: bytes of the file on disk that are read by now."""

    file: Path
    frame: pl.DataFrame
    position: int


def file_format(path: Path) -> str:
    """Return csv, tsv, jsonl, ndjson or parquet by the file's name.

    Raises `UserError` for a file that is absent, empty, or of another kind.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file.")
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Name its files.")
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    form = next((s for s in reversed(suffixes) if s != "gz"), "")
    if form not in FORMATS:
        raise UserError(
            f"{path}: the name must end in .csv, .tsv, .jsonl, .ndjson or .parquet, "
            "each also with .gz."
        )
    try:
        with _open(path) as stream:
            head = stream.read(4096)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}.") from None
    if not head.strip():
        raise UserError(f"{path}: the file is empty.")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{path}: is {what}.")
    if form != "parquet" and head.startswith(b"PAR1"):
        raise UserError(f"{path}: is a Parquet file: its name must end in .parquet.")
    if form == "parquet" and not head.startswith(b"PAR1"):
        raise UserError(f"{path}: is not a Parquet file.")
    return form


def read_batches(
    path: Path, settings: FileFormat, report: ImportReport, batch_rows: int = BATCH_ROWS
) -> Iterator[RawBatch]:
    """Yield the rows of a file. Counts rows as read, and rejects lines that cannot be read."""
    form = file_format(path)
    try:
        if form == "parquet":
            yield from _read_parquet(path, report, batch_rows)
        elif form in ("csv", "tsv"):
            yield from _read_csv(path, settings, report, batch_rows, tabs=form == "tsv")
        else:
            yield from _read_jsonl(path, settings, report, batch_rows)
    except (OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read further: {error}.") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _position(stream: IO[bytes]) -> int:
    # Inside a GzipFile lies the file on disk, whose position is what progress is measured by.
    raw = getattr(stream, "fileobj", None)
    return int((raw or stream).tell())


def _encoding(path: Path, settings: FileFormat) -> str:
    with _open(path) as stream:
        head = stream.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return "utf-8-sig" if settings.encoding.lower() in ("utf-8", "utf8") else settings.encoding


def _read_csv(
    path: Path, settings: FileFormat, report: ImportReport, batch_rows: int, *, tabs: bool
) -> Iterator[RawBatch]:
    csv.field_size_limit(MAX_FIELD)
    with ExitStack() as stack:
        raw = stack.enter_context(_open(path))
        text = stack.enter_context(
            io.TextIOWrapper(raw, _encoding(path, settings), errors="replace", newline="")
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
                    yield _csv_batch(path, header, rows, lines, _position(raw), report)
                    rows, lines = [], []
        except csv.Error as error:
            raise UserError(
                f"{path}: line {reader.line_num}: {error}. Is a quote not closed?"
            ) from None
        if rows:
            yield _csv_batch(path, header, rows, lines, _position(raw), report)


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


def _read_jsonl(
    path: Path, settings: FileFormat, report: ImportReport, batch_rows: int
) -> Iterator[RawBatch]:
    encoding = _encoding(path, settings)
    with _open(path) as raw:
        if encoding == "utf-8-sig":
            stream: Iterator[bytes] = iter(raw)
        else:
            text = io.TextIOWrapper(raw, encoding, errors="replace")
            stream = (line.encode() for line in text)
        rows: list[dict[str, Any]] = []
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
                report.reject_one(str(path), number, "line is no JSON object", row)
                continue
            rows.append(row)
            lines.append(number)
            if len(rows) >= batch_rows:
                yield _jsonl_batch(path, rows, lines, _position(raw))
                rows, lines = [], []
        if rows:
            yield _jsonl_batch(path, rows, lines, _position(raw))


def _jsonl_batch(
    path: Path, rows: list[dict[str, Any]], lines: list[int], position: int
) -> RawBatch:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {
        name: pl.Series(name, [_text(row.get(name)) for row in rows], dtype=pl.String)
        for name in names
    }
    frame = pl.DataFrame({LINE: pl.Series(lines, dtype=pl.Int64)} | columns)
    return RawBatch(path, frame, position)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _read_parquet(path: Path, report: ImportReport, batch_rows: int) -> Iterator[RawBatch]:
    size = path.stat().st_size
    with ExitStack() as stack:
        source: Path | IO[bytes] = path
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        if packed:
            # Parquet is read from its end, which gzip does not allow.
            source = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stack.enter_context(_open(path)), source)
            source.seek(0)
        try:
            file = stack.enter_context(pyarrow.parquet.ParquetFile(source))
        except pyarrow.ArrowException as error:
            raise UserError(f"{path}: is not a Parquet file: {error}.") from None
        done, total = 0, max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(batch_size=batch_rows):
            frame = pl.DataFrame(pl.from_arrow(pyarrow.Table.from_batches([batch])))
            report.read += frame.height
            lines = pl.Series(LINE, range(done + 1, done + frame.height + 1), dtype=pl.Int64)
            done += frame.height
            yield RawBatch(path, frame.insert_column(0, lines), size * done // total)
