"""Files that are there as a whole or not at all, whenever the process or the machine stops."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a path to write to; on success it is flushed and takes the place of `file`.

    What a killed process leaves behind has a name that starts with a dot. The folder of `file` is
    made if there is none. What is raised where a disk is full names `file`.
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


def flush(path: Path) -> None:
    """Wait until a file, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
