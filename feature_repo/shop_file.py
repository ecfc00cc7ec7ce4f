"""Files of a shop that SQLite or Feast keep: what is said of one that cannot be opened."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError


class ShopFileError(Exception):
    """A file of the shop's folder cannot be used. The message names it, and the way on."""


@contextmanager
def opening(path: Path, way_on: str) -> Iterator[None]:
    """Open the shop's file `path`; `way_on` is a sentence that says what to do without it.

    Raises `ShopFileError` where it cannot be opened, or is damaged.
    """
    try:
        yield
    except (sqlite3.Error, DecodeError) as error:
        raise ShopFileError(f"{path}: cannot be opened: {error}. {way_on}") from error
