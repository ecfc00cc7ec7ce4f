"""Parquet files to batches of raw rows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from uuid import UUID

import polars as pl
import pyarrow
import pyarrow.parquet
from pyarrow import types

from riverrun.errors import UserError
from riverrun.importing.raw_files import BatchSize, RawBatch, check_names, is_gzip, open_file
from riverrun.importing.report import LINE, ImportReport

_PLAIN = (
    types.is_null,
    types.is_boolean,
    types.is_integer,
    types.is_floating,
    types.is_string,
    types.is_large_string,
    types.is_string_view,
    types.is_date,
    types.is_time,
    types.is_timestamp,
    types.is_decimal32,
    types.is_decimal64,
    types.is_decimal128,
)
_BYTES = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list)


def read_parquet(path: Path, report: ImportReport, size: BatchSize) -> Iterator[RawBatch]:
    """Yield the rows of a Parquet file with its own types.

    UUIDs become text, and so do bytes; bytes that are not UTF-8 become null. Decimals with more
    digits than Polars supports become JSON.
    """
    on_disk = path.stat().st_size
    with ExitStack() as stack:
        source: Path | IO[bytes] = path
        if is_gzip(path):
            # Parquet is read from its end, where gzip cannot jump to.
            source = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stack.enter_context(open_file(path)), source)
            source.seek(0)
        try:
            file = stack.enter_context(pyarrow.parquet.ParquetFile(source))
        except pyarrow.ArrowException as error:
            raise UserError(f"{path}: is not a Parquet file: {error}.") from None
        schema: pyarrow.Schema = file.schema_arrow
        check_names(path, schema.names)
        unreadable = {each.name: str(each.type) for each in schema if not _is_column(each.type)}
        wide = [each.name for each in schema if types.is_decimal256(each.type)]
        done, total = 0, max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(batch_size=_batch_rows(file.metadata, size)):
            columns = [_readable(column) for column in batch.columns]
            table = pyarrow.table(columns, names=schema.names)
            frame = pl.DataFrame(pl.from_arrow(table))
            report.read += frame.height
            lines = pl.Series(LINE, range(done + 1, done + frame.height + 1), dtype=pl.Int64)
            done += frame.height
            frame.insert_column(0, lines)
            is_json = {name: pl.repeat(True, frame.height, eager=True) for name in wide}
            yield RawBatch(path, frame, on_disk * done // total, unreadable, is_json)


def _batch_rows(metadata: pyarrow.parquet.FileMetaData, size: BatchSize) -> int:
    """Return how many rows make a batch, by the row group whose rows are widest on average."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    width = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=0)
    return int(min(size.rows, max(1, size.bytes // max(width, 1))))


def _is_uuid(type_: pyarrow.DataType) -> bool:
    return isinstance(type_, pyarrow.UuidType) or type_ == pyarrow.binary(16)


def _is_column(type_: pyarrow.DataType) -> bool:
    readable = (_is_uuid, types.is_decimal256, *_BYTES, _is_value)
    return any(is_one(type_) for is_one in readable)


def _is_value(type_: pyarrow.DataType) -> bool:
    """Return whether Polars has the type, and can write it as JSON."""
    if any(is_one(type_) for is_one in _LISTS) or types.is_dictionary(type_):
        return _is_value(type_.value_type)
    if types.is_map(type_):
        return _is_value(type_.key_type) and _is_value(type_.item_type)
    if types.is_struct(type_):
        return all(_is_value(type_.field(number).type) for number in range(type_.num_fields))
    return any(is_one(type_) for is_one in _PLAIN)


def _readable(column: pyarrow.Array) -> pyarrow.Array:
    if not _is_column(column.type):
        return pyarrow.nulls(len(column), pyarrow.string())
    if types.is_decimal256(column.type):
        return column.cast(pyarrow.string())
    if _is_uuid(column.type):
        stored = column.storage if isinstance(column.type, pyarrow.UuidType) else column
        texts = [None if value is None else str(UUID(bytes=value)) for value in stored.to_pylist()]
        return pyarrow.array(texts, pyarrow.string())
    if any(is_one(column.type) for is_one in _BYTES):
        return _decoded(column)
    return column


def _decoded(column: pyarrow.Array) -> pyarrow.Array:
    try:
        return column.cast(pyarrow.string())
    except pyarrow.ArrowException:
        texts = [_utf8(value) for value in column.to_pylist()]
        return pyarrow.array(texts, pyarrow.string())


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None
