"""A small disk of a test's own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a disk of `size`, as mount writes it, on a new folder."""
    folder.mkdir()
    options = f"size={size},uid={os.geteuid()}"
    subprocess.run(
        [*AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "riverrun-test", str(folder)], check=True
    )
    yield folder
    subprocess.run([*AS_ROOT, "umount", "--lazy", str(folder)], check=True)
