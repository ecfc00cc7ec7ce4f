"""Users whose embedding is missing, or of another bundle, are embedded in the background."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.online_features import UserEmbedding
from streaming import reencoding
from streaming.metrics import StreamMetrics
from streaming.publisher import Publisher
from streaming.reencoding import UserReencoder
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.updates import Updates
from tests.support.stream import NOW, FakeModel, HashEncoder, MemoryOnline, event

USERS = [f"u{number:03}" for number in range(2 * reencoding.PAGE + 1)]


class Shop:
    """A state with histories, an online store, and what keeps the second up with the first."""

    def __init__(self, folder: Path) -> None:
        self.state = SqliteState(folder / "state.sqlite")
        self.log = SqliteLog(folder / "log.sqlite")
        self.online = MemoryOnline()
        self.model = FakeModel()
        self.now = 0.0
        metrics = StreamMetrics()
        self.publisher = Publisher(
            self.log, self.online, self.state, self.model, metrics, lambda: NOW
        )
        self.reencoder = UserReencoder(
            self.state,
            self.online,
            self.model,
            self.publisher,
            metrics,
            pause_seconds=5.0,
            clock=lambda: self.now,
        )

    def commit(self, *histories: UserHistory) -> None:
        updates = Updates(histories={history.user_id: history for history in histories})
        self.state.commit(0, self.state.load(0, (), ()).version, updates, {})

    def finish(self) -> None:
        while self.reencoder.step():
            pass

    def histories(self) -> list[UserHistory]:
        return [history for page in self.state.all_histories() for history in page]

    def assert_all_current(self) -> None:
        for history in self.histories():
            (stored,) = self.online.get(UserEmbedding, [history.user_id])
            assert stored.bundle_version == self.model.encoder.bundle_version
            assert stored.history_timestamp == history.events[-1].timestamp
            np.testing.assert_array_equal(
                stored.vector, self.model.encoder.encode_queries([history])[0]
            )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.commit(*(history_of(user, 1) for user in USERS))
    yield shop
    shop.state.close()
    shop.log.close()


def history_of(user_id: str, events: int) -> UserHistory:
    history = UserHistory(user_id)
    for number in range(events):
        happened = event(number, user=user_id, minutes=number)
        history = append(history, HistoryEvent.of(happened))
    return history


def test_after_an_import_every_user_is_embedded_once(shop: Shop) -> None:
    shop.finish()
    shop.assert_all_current()
    before = dict(shop.online.records)
    shop.model.encoder = HashEncoder()  # another object, the same bundle
    shop.finish()
    assert shop.online.records == before


def test_only_what_is_outdated_is_written(shop: Shop) -> None:
    shop.finish()
    (kept,) = shop.online.get(UserEmbedding, [USERS[0]])
    shop.commit(history_of(USERS[1], 2))  # a zombie pushed before it died, say
    restarted = UserReencoder(
        shop.state,
        shop.online,
        shop.model,
        shop.publisher,
        StreamMetrics(),
        pause_seconds=5.0,
    )
    while restarted.step():
        pass
    assert shop.online.get(UserEmbedding, [USERS[0]])[0] is kept
    shop.assert_all_current()


def test_a_swap_half_way_starts_anew(shop: Shop) -> None:
    shop.reencoder.step()

    class Newer(HashEncoder):
        bundle_version = "v2"

    shop.model.encoder = Newer()
    shop.finish()
    shop.assert_all_current()


@pytest.mark.parametrize(
    "meanwhile",
    [lambda user_id: history_of(user_id, 3), UserHistory],
    ids=["an event", "an erasure"],
)
def test_what_changes_between_reading_and_writing_wins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[str], UserHistory]
) -> None:
    push = shop.online.push

    def pushed_last(records: Any) -> None:
        # Another worker commits and pushes the newer value, and this one's push lands after it.
        monkeypatch.setattr(shop.online, "push", push)
        newer = meanwhile(USERS[0])
        shop.commit(newer)
        shop.publisher.publish(Updates(histories={USERS[0]: newer}))
        push(records)

    monkeypatch.setattr(shop.online, "push", pushed_last)
    shop.finish()
    shop.assert_all_current()
    known = {history.user_id for history in shop.histories()}
    assert (shop.online.get(UserEmbedding, [USERS[0]])[0] is None) == (USERS[0] not in known)


def test_a_store_that_fails_is_left_alone_for_a_while(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def down(records: Any) -> None:
        calls.append(records)
        raise ConnectionError("no store here")

    with monkeypatch.context() as failing:
        failing.setattr(shop.online, "push", down)
        shop.finish()
        shop.finish()
    assert len(calls) == 1
    shop.finish()
    assert shop.online.get(UserEmbedding, USERS[:1]) == [None]
    shop.now += 5.0
    shop.finish()
    shop.assert_all_current()


def test_without_a_bundle_nothing_is_done(shop: Shop) -> None:
    shop.model.encoder = None
    assert not shop.reencoder.step()
