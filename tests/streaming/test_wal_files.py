"""The write-ahead file of a database does not stay as large as it once was."""

from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.bulk_sql import WAL_BYTES
from feature_repo.event_log import EVENTS, Message
from feature_repo.feast_online_features import FeastOnlineFeatures, sqlite_online_store
from feature_repo.schema import Item
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.updates import Updates

Write = Callable[[str, int], object]
"""Writes so many items, of new ids, in one transaction."""


def items(name: str, count: int) -> list[Item]:
    return [Item(item_id=f"{name}{number}", description="d" * 9_000) for number in range(count)]


def into_log(path: Path) -> tuple[Write, Callable[[], None]]:
    log = SqliteLog(path)

    def write(name: str, count: int) -> None:
        messages = [
            Message(each.item_id, each.model_dump_json().encode()) for each in items(name, count)
        ]
        log.append(EVENTS, messages)

    return write, log.close


def into_state(path: Path) -> tuple[Write, Callable[[], None]]:
    state = SqliteState(path)

    def write(name: str, count: int) -> None:
        version = state.load(0, (), ()).version
        state.commit(
            0, version, Updates(items={each.item_id: each for each in items(name, count)}), {}
        )

    return write, state.close


def into_online_store(path: Path) -> tuple[Write, Callable[[], None]]:
    features = FeastOnlineFeatures(sqlite_online_store(path), path.parent / "registry.db")
    return lambda name, count: features.push(items(name, count)), features.close


@pytest.mark.parametrize("opened", [into_log, into_state, into_online_store])
def test_after_a_large_transaction_the_file_is_cut(
    tmp_path: Path, opened: Callable[[Path], tuple[Write, Callable[[], None]]]
) -> None:
    path = tmp_path / "some.sqlite"
    write, close = opened(path)
    wal = path.with_name("some.sqlite-wal")
    write("of many ", 3_000)
    assert wal.stat().st_size > WAL_BYTES
    # The large one was checkpointed at its end, so that this one begins the file anew.
    write("alone ", 1)
    assert 0 < wal.stat().st_size <= WAL_BYTES
    close()
