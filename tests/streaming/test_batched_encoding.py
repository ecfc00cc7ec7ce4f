"""A micro-batch is embedded by one call, however many users and partitions it has."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.event_log import EVENTS, LogRecord, Positions, TopicPartition
from feature_repo.history import UserHistory
from feature_repo.online_features import UserEmbedding
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.stream import NOW, FakeModel, HashEncoder, MemoryOnline, event

PARTITIONS = 3
USERS = [f"u{number}" for number in range(40)]


class CountingEncoder(HashEncoder):
    """Keeps the users of each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode_queries(
        self, histories: Sequence[UserHistory], query_texts: Sequence[str] | None = None
    ) -> np.ndarray:
        self.calls.append([history.user_id for history in histories])
        return super().encode_queries(histories, query_texts)


class Polled:
    """A consumer whose first poll gives two events of each user, in the users' partitions."""

    assigned = frozenset(TopicPartition(EVENTS, number) for number in range(PARTITIONS))

    def __init__(self, _: Any, group: str | None, topics: Sequence[str], at: Positions) -> None:
        at(dict.fromkeys(self.assigned))
        self._unread = [_record(number, user) for number, user in enumerate(2 * USERS)]

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        records, self._unread = self._unread, []
        return records

    more = poll

    def commit(self, positions: Mapping[TopicPartition, int]) -> None: ...


def _record(number: int, user: str) -> LogRecord:
    source = TopicPartition(EVENTS, USERS.index(user) % PARTITIONS)
    value = event(number, user, minutes=number).model_dump_json().encode()
    return LogRecord(source, number, user, value)


def test_dirty_users_of_all_partitions_are_embedded_by_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteLog, "consumer", lambda *arguments: Polled(*arguments))
    encoder, online = CountingEncoder(), MemoryOnline()
    with (
        closing(SqliteLog(tmp_path / "log.sqlite")) as log,
        closing(SqliteState(tmp_path / "state.sqlite")) as state,
    ):
        worker = Worker(log, online, state, FakeModel(encoder), clock=lambda: NOW)
        worker.recover()
        assert worker.step() == 2 * len(USERS)
        assert set(range(PARTITIONS)) <= {*state.partitions()}
    (together,) = encoder.calls
    assert sorted(together) == sorted(USERS)
    assert None not in online.get(UserEmbedding, USERS)
