"""Callers that write at the same time share a transaction, and each learns what became of it."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from feature_repo.event_log import EventLogError
from streaming.group_commit import GroupCommit, Written
from tests.support.waiting import wait_until

INSERT = "INSERT INTO records (value) VALUES (?)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE records (value TEXT NOT NULL)")
    return tmp_path / "log.sqlite"


@pytest.fixture
def writes(file: Path) -> Iterator[GroupCommit]:
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=60)
    writes = GroupCommit(connection, "log")
    yield writes
    writes.close()


def values(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM records")]


def test_all_who_wait_behind_one_transaction_share_the_next(
    file: Path, writes: GroupCommit
) -> None:
    texts = [f"value {number}" for number in range(12)]
    with closing(sqlite3.connect(file)) as other, ThreadPoolExecutor(len(texts)) as pool:
        other.execute("BEGIN IMMEDIATE")  # The first caller waits for this one.
        asked = [pool.submit(writes.write, INSERT, [(text,)], durable=True) for text in texts]
        wait_until(lambda: len(writes._pending) == len(texts) - 1, seconds=30)
        other.rollback()
        found = [each.result(30) for each in asked]
    assert writes.transactions == 2
    # Each is told of its own row.
    assert [each.changed for each in found] == [1] * len(texts)
    assert [values(file)[each.last_row - 1] for each in found] == texts


def test_a_write_is_of_all_rows_or_of_none(file: Path, writes: GroupCommit) -> None:
    with pytest.raises(EventLogError, match=r"^log: nothing was written: .*NOT NULL"):
        writes.write(INSERT, [("a",), (None,)], durable=True)
    assert values(file) == []
    assert writes.write(INSERT, [("a",), ("b",)], durable=True) == Written(2, 2)
    assert values(file) == ["a", "b"]


def test_what_must_be_durable_waits_for_the_disk(writes: GroupCommit) -> None:
    for durable, synchronous in ((True, 2), (False, 1), (True, 2)):  # FULL and NORMAL
        writes.write(INSERT, [("a",)], durable=durable)
        assert writes.connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_who_waits_is_woken_by_a_write_and_else_waits_as_long_as_asked(
    writes: GroupCommit,
) -> None:
    before = time.monotonic()
    writes.wait(writes.transactions, 0.05)
    assert time.monotonic() - before >= 0.04
    with ThreadPoolExecutor(1) as pool:
        woken = pool.submit(writes.wait, writes.transactions, 60.0)
        writes.write(INSERT, [("a",)], durable=False)
        woken.result(10)
    # There was one since: nothing to wait for.
    writes.wait(writes.transactions - 1, 60.0)


def test_closing_ends_every_wait_and_write(writes: GroupCommit) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(writes.wait, 0, 60.0)
        writes.close()
        assert isinstance(waiting.exception(30), EventLogError)
    with pytest.raises(EventLogError, match=r"^log: is closed\.$"):
        writes.wait(0, 0.0)
    with pytest.raises(EventLogError, match=r"^log: is closed\.$"):
        writes.write(INSERT, [("a",)], durable=True)
