"""Parquet files to batches of raw rows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow
import pyarrow.parquet

from riverrun.errors import UserError
from riverrun.importing.raw_files import RawBatch, open_file
from riverrun.importing.report import LINE, ImportReport


def read_parquet(path: Path, report: ImportReport, batch_rows: int) -> Iterator[RawBatch]:
    """Yield the rows of a Parquet file with its own types."""
    size = path.stat().st_size
    with ExitStack() as stack:
        source: Path | IO[bytes] = path
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        if packed:
            # Parquet is read from its end, which gzip does not allow.
            source = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stack.enter_context(open_file(path)), source)
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
