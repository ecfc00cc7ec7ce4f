"""Reads of an archive whose files may be damaged."""

from collections.abc import Iterator
from contextlib import contextmanager

from polars.exceptions import ComputeError

from feature_repo.archive import Archive
from riverrun.errors import UserError


@contextmanager
def undamaged(archive: Archive) -> Iterator[None]:
    """Raise `UserError`, which names the archive, where a file of it cannot be read."""
    try:
        yield
    except ComputeError as error:
        raise UserError(f"{archive.root}: {error}") from error


@contextmanager
def readable(archive: Archive) -> Iterator[None]:
    """Do what `undamaged` does, and the same where what it holds cannot be used.

    For a block that does nothing but read: any `ValueError` is taken for the archive's.
    """
    with undamaged(archive):
        try:
            yield
        except ValueError as error:
            raise UserError(f"{archive.root}: {error}") from error
