"""What is said of a file of a shop that cannot be opened."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.shop_file import ShopFileError, opening

WAY_ON = "Remove it, and it is made again."


def said(path: Path, statement: str) -> str:
    with (
        pytest.raises(ShopFileError) as raised,
        opening(path, WAY_ON),
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
    ):
        connection.execute(statement)
    return str(raised.value)


def test_only_what_is_damaged_is_to_be_removed(tmp_path: Path) -> None:
    damaged, whole = tmp_path / "damaged", tmp_path / "whole"
    damaged.write_bytes(b"no database at all" * 100)
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("CREATE TABLE kept (number)")
    reading, writing = "SELECT * FROM kept", "DELETE FROM kept"
    assert said(damaged, reading) == f"{damaged}: cannot be used: file is not a database. {WAY_ON}"
    for path in (whole, tmp_path / "absent"):
        reason = said(path, writing)
        assert reason.startswith(f"{path}: cannot be used: ")
        assert WAY_ON not in reason
