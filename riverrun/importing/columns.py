"""Matches the columns of a file with those that a mapping reads."""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from riverrun.errors import UserError
from riverrun.importing.mapping import (
    Kind,
    RecordMapping,
    native_mapping,
    other_names,
    required_columns,
    source_columns,
)
from riverrun.importing.nested import with_names_inside
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.report import LINE, ImportReport


class FileColumns:
    """Gives each batch of a file the columns that its mapping reads.

    A file `is_sparse` if its rows may leave out names, as in JSONL: a column is then absent only
    where no row of the whole file has it. Without a mapping the columns have the fields' names.
    """

    def __init__(
        self, file: Path, kind: Kind, mapping: RecordMapping | None, *, is_sparse: bool
    ) -> None:
        self._file = file
        self._kind = kind
        self._mapping = mapping
        self._is_sparse = is_sparse
        self._seen: dict[str, None] = {}

    def complete(self, batch: RawBatch) -> tuple[RawBatch, RecordMapping]:
        """Return the batch with all columns that are read, absent ones null, and its mapping.

        Names inside other columns, such as "title.en", become columns too.

        Raises `UserError` for a column that is unknown, of a type that cannot be read, or absent
        where rows are not sparse.
        """
        columns = [name for name in batch.frame.columns if name != LINE]
        self._seen |= dict.fromkeys(columns)
        mapping = self._mapping_of(columns)
        read = source_columns(mapping)
        for name in read:
            if name not in columns and (inner := with_names_inside(batch, name)) is not None:
                batch = inner
                columns.append(name)
                if batch.frame[name].null_count() < batch.frame.height:
                    self._seen[name] = None
        for name in batch.unreadable.keys() & read:
            raise UserError(
                f"{self._file}: column {name!r} is of the type {batch.unreadable[name]}, which "
                "cannot be read. Write it as text."
            )
        absent = [name for name in read if name not in columns]
        if absent and not self._is_sparse:
            raise self._missing(absent[0])
        nulls = [pl.lit(None, pl.String).alias(name) for name in absent]
        return replace(batch, frame=batch.frame.with_columns(nulls)), mapping

    def check_whole(self, report: ImportReport) -> None:
        """Report mapped columns that no row had; raise `UserError` for one that is required."""
        if not self._seen:
            return
        mapping = self._mapping_of(list(self._seen))
        required = required_columns(mapping)
        for name in source_columns(mapping):
            if name in self._seen:
                continue
            if name in required:
                raise self._missing(name)
            report.note(f"no row of a file has {name!r}, which the mapping names.")

    def _mapping_of(self, columns: list[str]) -> RecordMapping:
        if self._mapping is not None:
            return self._mapping
        try:
            return native_mapping(self._kind, columns)
        except ValueError as error:
            raise UserError(f"{self._file}: {error}.") from None

    def _missing(self, name: str) -> UserError:
        columns = list(self._seen)
        if self._mapping is None:
            return UserError(
                f"{self._file}: no column {name!r}. The file has: {', '.join(columns)}. "
                f"{other_names(self._kind)}."
            )
        close = get_close_matches(name, columns, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return UserError(
            f"{self._file}: no column {name!r}, which the mapping names.{hint} "
            f"Columns of the file: {', '.join(columns)}."
        )
