"""What is said of a file of a shop that cannot be opened."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.shop_file import PassingShopFileError, ShopFileError, opening

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


def test_what_another_process_holds_or_has_no_room_passes(tmp_path: Path) -> None:
    file = tmp_path / "whole"
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE kept (number)")
        holder.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(PassingShopFileError, match="database is locked"),
            opening(file, WAY_ON),
            closing(sqlite3.connect(file, timeout=0)) as connection,
        ):
            connection.execute("SELECT * FROM kept")
        holder.execute("ROLLBACK")
    with (
        pytest.raises(PassingShopFileError, match="disk is full"),
        opening(file, WAY_ON),
        closing(sqlite3.connect(file)) as connection,
    ):
        connection.executescript(
            "PRAGMA max_page_count = 2; INSERT INTO kept VALUES (zeroblob(100000));"
        )


def test_what_is_damaged_or_not_allowed_does_not_pass(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no database at all" * 100)
    for path in (damaged, tmp_path / "absent"):
        with (
            pytest.raises(ShopFileError) as raised,
            opening(path, WAY_ON),
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        ):
            connection.execute("SELECT * FROM kept")
        assert not isinstance(raised.value, PassingShopFileError)
