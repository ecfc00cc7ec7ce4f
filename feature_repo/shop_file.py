"""Errors of the shop's files, of SQLite and Feast, that cannot be opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError


class ShopFileError(Exception):
    """A file of the shop's folder cannot be used. The message names it, and says what to do."""


class PassingShopFileError(ShopFileError):
    """It cannot be used now: another process holds it, or the disk is full."""


_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL}


@contextmanager
def opening(path: Path, way_on: str) -> Iterator[None]:
    """Open the shop's file `path`; `way_on` is a sentence that says what to do without it.

    Raises `ShopFileError` where it cannot be opened, or is damaged; of these
    `PassingShopFileError` where it may be usable later.
    """
    try:
        yield
    except (sqlite3.Error, DecodeError) as error:
        # The low byte: an extended code says more of the same (https://sqlite.org/rescode.html).
        passes = getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING
        kind = PassingShopFileError if passes else ShopFileError
        reason = f"{path}: cannot be used: {with_way_on(error, way_on)}"
        raise kind(reason) from error


def with_way_on(error: Exception, way_on: str) -> str:
    """Return what is wrong with a file and, where it is damaged, what to do without it.

    One that cannot be read or written now may be whole: nobody should be told to remove it.
    """
    whole = isinstance(error, (sqlite3.OperationalError, OSError))
    return f"{error}." if whole else f"{error}. {way_on}"
