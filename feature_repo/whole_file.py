"""Files that are there as a whole or not at all, whenever the process or the machine stops."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path to write to; on success it is flushed and takes the place of `file`.

    What a killed process leaves behind has a name that starts with a dot: see `remove_unfinished`.
    The folder of `file` is made if there is none. What is raised where a disk is full names `file`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        yield unfinished
        flush(unfinished)
        unfinished.replace(file)
        flush(file.parent)
    except OSError as error:
        # What writes to an open file, or flushes it, does not know its name.
        if error.errno is not None and error.filename is None:
            error.filename = str(file)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path, names: str, before: datetime) -> None:
    """Remove what `replacing` has left of files whose writer was killed.

    names: a pattern of the names of these files. before: what was last written from this time on
    stays, since somebody may write it still.
    """
    for file in folder.glob(f".{names}.*"):
        with suppress(FileNotFoundError):  # Its writer has finished it by now.
            if file.stat().st_mtime < before.timestamp():
                file.unlink()


def flush(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
