"""Who was erased, and how far the archive has come: no damaged file is passed over."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import USERS, TopicPartition
from feature_repo.json_files import WAY_ON
from feature_repo.shop_file import ShopFileError

MARK, TIMES = "erasures/00001.json", "erasures/00001.times"
POSITION = "positions/users-00001.json"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *[
            (file, content)
            for file in (MARK, TIMES, POSITION)
            for content in (b"", b"\x00" * 20, b"\xff\xfe", b"null", b"7", b'["', b"[1]")
        ],
        *[
            (MARK, content)
            for content in (b"{}", b"[1, {}, {}, 1]", b'[1, {"u": 1.5}]', b'["1", {}]', b"[1, []]")
        ],
        (TIMES, b"[]"),
        (TIMES, b'{"u": "7"}'),
        (POSITION, b'["users", 1, "7"]'),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    archive = Archive(tmp_path)
    archive.marks.write(0, {"v": 5}, {"v": 1_000})
    archive.marks.write(1, {"u": 7}, {"u": 1_000})
    archive.positions.write({TopicPartition(USERS, partition): 9 for partition in (0, 1)})
    reads: dict[str, Callable[[], object]] = {
        MARK: archive.marks.moments,
        TIMES: archive.marks.erased_at,
        POSITION: archive.positions.read,
    }
    whole = reads[file]()
    before = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content)
    said = rf"^{re.escape(str(tmp_path / file))}: cannot be used: .*\. {re.escape(WAY_ON)}$"
    with pytest.raises(ShopFileError, match=said):
        reads[file]()
    (tmp_path / file).write_bytes(before)
    assert reads[file]() == whole
