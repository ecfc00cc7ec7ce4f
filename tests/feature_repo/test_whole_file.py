"""A file is there as a whole or not at all."""

from errno import ENOSPC
from pathlib import Path

import pytest

from feature_repo.whole_file import replacing


def test_a_full_disk_is_said_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"

    def write() -> None:
        with replacing(file) as unfinished:
            unfinished.symlink_to("/dev/full")
            unfinished.write_bytes(b"much")

    with pytest.raises(OSError, match="No space left") as raised:
        write()
    assert (raised.value.errno, raised.value.filename) == (ENOSPC, str(file))
    assert not [*file.parent.iterdir()]


def test_an_error_that_is_not_of_a_disk_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^nothing came$"), replacing(tmp_path / "file"):
        raise OSError("nothing came")
