"""Files to batches of raw rows: CSV, JSONL and Parquet, each also gzipped, of any size.

A batch is a frame of raw columns and `_line`. CSV and JSONL give strings (JSON text for values that
are no strings), Parquet gives its own types. Lines that cannot be read go to the report.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow

from riverrun.errors import UserError
from riverrun.importing.csv_reader import read_csv
from riverrun.importing.jsonl_reader import read_jsonl
from riverrun.importing.mapping import FileFormat
from riverrun.importing.parquet_reader import read_parquet
from riverrun.importing.raw_files import BATCH, BatchSize, RawBatch, open_file
from riverrun.importing.report import ImportReport

FORMATS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
MAGIC = {
    b"PK\x03\x04": "a zip or Excel file: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save the sheet as CSV",
    b"BZh": "a bzip2 file: unpack it or use gzip",
    b"\x28\xb5\x2f\xfd": "a zstd file: unpack it or use gzip",
    b"%PDF": "a PDF file",
}


class NoRowsError(UserError):
    """A file that says nothing, though nothing is wrong with it."""


def file_format(path: Path) -> str:
    """Return csv, tsv, jsonl, ndjson or parquet by the file's name.

    Raises `NoRowsError` for a text file that is empty, and `UserError` for a file that is absent or
    of another kind.
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
        with open_file(path) as stream:
            head = stream.read(4096)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}.") from None
    if form != "parquet" and not head.strip():
        raise NoRowsError(f"{path}: the file is empty.")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{path}: is {what}.")
    if form != "parquet" and head.startswith(b"PAR1"):
        raise UserError(f"{path}: is a Parquet file: its name must end in .parquet.")
    if form == "parquet" and not head.startswith(b"PAR1"):
        raise UserError(f"{path}: is not a Parquet file.")
    return form


def read_batches(
    path: Path, settings: FileFormat, report: ImportReport, size: BatchSize = BATCH
) -> Iterator[RawBatch]:
    """Yield the rows of a file. Counts rows as read, and rejects lines that cannot be read."""
    form = file_format(path)
    try:
        if form == "parquet":
            yield from read_parquet(path, report, size)
        elif form in ("csv", "tsv"):
            yield from read_csv(path, settings, report, size, tabs=form == "tsv")
        else:
            yield from read_jsonl(path, settings, report, size)
    except (OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read further: {error}.") from None
