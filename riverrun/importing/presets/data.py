"""What every preset gives, and how presets read text."""

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from feature_repo.schema import Item, User
from riverrun.errors import UserError
from riverrun.importing.report import ImportReport


@dataclass(frozen=True, eq=False)
class PresetData:
    """A data set in memory.

    `events` has the columns of `feature_repo.archive.EVENT_SCHEMA`, sorted by
    (timestamp, event_id), each event_id once.
    """

    items: list[Item]
    events: pl.DataFrame
    users: list[User] = field(default_factory=list)
    report: ImportReport = field(default_factory=ImportReport)


def read_text(path: Path, report: ImportReport) -> str:
    """Return a file's text, gzip or not; bytes that are not UTF-8 are read as Latin-1."""
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        report.repair("file read as Latin-1", 1)
        return raw.decode("latin-1")


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes, unpacked where gzip; `UserError` where empty or unreadable."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}.") from None
    if not raw.strip():
        raise UserError(f"{path}: the file is empty.")
    return raw
