"""Reads of an archive whose files may be damaged."""

from collections.abc import Iterator
from contextlib import contextmanager

from polars.exceptions import ComputeError

from feature_repo.archive import Archive
from riverrun.errors import UserError


@contextmanager
def readable(archive: Archive) -> Iterator[None]:
    """Raise `UserError`, which names the archive, where what it holds cannot be used or read."""
    try:
        yield
    except (ValueError, ComputeError) as error:
        raise UserError(f"{archive.root}: {error}") from error
