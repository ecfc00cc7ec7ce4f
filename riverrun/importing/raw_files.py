"""What the readers of all formats share: files that may be gzipped, and batches of raw rows."""

import codecs
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import polars as pl

from riverrun.errors import UserError
from riverrun.importing.json_values import dump_json
from riverrun.importing.mapping import FileFormat
from riverrun.importing.report import LINE
from riverrun.importing.text import stripped

WRONG_ENCODING = "bytes are not in the file's encoding"


BROKEN = "\udcff"
"""Stands for bytes that are invalid in the file's encoding; valid text never contains it."""
MARK_BROKEN = "riverrun.mark_broken"
"""The name of the handler of such bytes, for a decoder's `errors`."""
MAX_LINE = 16 << 20
"""The most characters, or bytes, of a line; a file with longer ones is not text."""
SHOWN = 1_000
"""How many characters the report shows of a line that is too long."""


@dataclass(frozen=True)
class BatchSize:
    """How many rows a batch may have, and about how many bytes of the file: rows may be wide."""

    rows: int = 200_000
    bytes: int = 64 << 20


BATCH = BatchSize()


@dataclass(frozen=True, eq=False)
class RawBatch:
    """Rows of one file. `position`: bytes of the file on disk that are read by now.

    `unreadable` columns, given with their types, cannot be read and are null. `is_json` says of
    text columns, row by row, whether the text is JSON of a value that was no text: 1 is not "1".
    """

    file: Path
    frame: pl.DataFrame
    position: int
    unreadable: Mapping[str, str] = field(default_factory=dict)
    is_json: Mapping[str, pl.Series] = field(default_factory=dict)

    def with_column(self, column: pl.Series, is_json: pl.Series | None) -> "RawBatch":
        """Return the batch with one more column, and what `is_json` says of it."""
        told = {} if is_json is None else {column.name: is_json}
        return replace(
            self, frame=self.frame.with_columns(column), is_json={**self.is_json, **told}
        )

    def is_nested(self, columns: Sequence[str]) -> pl.Expr:
        """Return for each row whether the first of these columns that is filled has no text.

        It has an object or a list then.
        """
        if not columns:
            return pl.lit(False)
        nested = self._has_no_text(columns[-1])
        for column in reversed(columns[:-1]):
            value = pl.col(column)
            text = self.frame.schema[column] == pl.String
            filled = stripped(value) != "" if text else value.is_not_null()
            nested = pl.when(filled).then(self._has_no_text(column)).otherwise(nested)
        return nested

    def _has_no_text(self, column: str) -> pl.Expr:
        if self.frame.schema[column].is_nested():
            return pl.col(column).is_not_null()
        if column not in self.is_json:
            return pl.lit(False)
        return pl.lit(self.is_json[column]) & pl.col(column).str.contains(r"^[\[{]")


def json_column(name: str, values: Sequence[Any]) -> tuple[pl.Series, pl.Series | None]:
    """Return a text column, with JSON for values that are no text, and where these are, or None.

    values: as JSON has them.
    """
    is_text = [value is None or isinstance(value, str) for value in values]
    if all(is_text):
        return pl.Series(name, values, dtype=pl.String), None
    texts = [v if text else dump_json(v) for v, text in zip(values, is_text, strict=True)]
    return pl.Series(name, texts, dtype=pl.String), ~pl.Series(name, is_text, dtype=pl.Boolean)


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise `UserError` for a duplicate column, or one that is named like the line's number."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path}: column {twice[0]!r} stands twice in the header.")
    if LINE in names:
        raise UserError(f"{path}: no column may be named {LINE!r}: rename it.")


def is_gzip(path: Path) -> bool:
    """Return whether a file begins as gzip does."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def open_file(path: Path) -> IO[bytes]:
    """Open a file, unpacking it where it is gzip."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def position_on_disk(stream: IO[bytes]) -> int:
    """Return how many bytes of the file on disk a stream of `open_file` has read."""
    # Inside a GzipFile lies the file on disk, whose position is what progress is measured by.
    raw = getattr(stream, "fileobj", None)
    return int((raw or stream).tell())


def encoding_of(path: Path, settings: FileFormat) -> str:
    """Return the encoding of a text file: that of its byte order mark, else the mapping's."""
    with open_file(path) as stream:
        head = stream.read(4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    is_utf8 = codecs.lookup(settings.encoding).name == "utf-8"
    return "utf-8-sig" if is_utf8 else settings.encoding


def without_broken(text: str) -> str:
    """Return text that can be shown, with U+FFFD in place of what could not be decoded."""
    return text.replace(BROKEN, "\ufffd")


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BROKEN, error.end


codecs.register_error(MARK_BROKEN, _mark_broken)
