"""A stored user embedding is the one that a request would compute, whichever items came when."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.event_log import EVENTS, Message
from feature_repo.history import HistoryEvent, UserHistory, append
from feature_repo.in_memory_online_features import InMemoryOnlineFeatures
from feature_repo.online_features import UserEmbedding
from riverrun.held_model import HeldModel
from serving.catalogue import Catalogue
from serving.live_model import LiveModel, ModelHolder
from serving.reload import open_current
from serving.requests import RecommendRequest
from serving.user_query import UserQueryReader
from streaming.metrics import StreamMetrics
from streaming.publisher import Publisher
from streaming.reencoding import UserReencoder
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.updates import Updates
from streaming.worker import Worker
from tests.support.stream import NOW, FakeModel, MemoryOnline, event
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from tests.support.waiting import wait_until

LENGTH = 5
IN_BUNDLE, LATE, NEVER = ["i0", "i1", "i2"], ["i60", "i61"], ["no item", "nor this"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LiveModel:
    folder = tmp_path_factory.mktemp("bundles")
    build_tiny_bundle(folder)
    return open_current(folder, Catalogue()).current


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteState]:
    state = SqliteState(tmp_path_factory.mktemp("state") / "state.sqlite")
    yield state
    state.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.sqlite")
    yield log
    log.close()


def history_of(item_ids: list[str]) -> UserHistory:
    history = UserHistory("u")
    for number, item_id in enumerate(item_ids):
        happened = event(number, item=item_id, minutes=number)
        history = append(history, HistoryEvent.of(happened), LENGTH)
    return history


def arrive(model: LiveModel, item_ids: set[str]) -> None:
    items = [item for item in tiny_items(2, 60) if item.item_id in item_ids]
    if items:
        embeddings = model.encoder.encode_candidates(items, NOW)
        model.index.upsert([item.item_id for item in items], embeddings)


def query(online: InMemoryOnlineFeatures, model: LiveModel) -> np.ndarray | None:
    reader = UserQueryReader(online, LENGTH)
    return reader.read(RecommendRequest("r", "u"), model, 0).embedding


def publisher_of(
    log: SqliteLog, online: InMemoryOnlineFeatures, state: SqliteState, model: LiveModel
) -> Publisher:
    return Publisher(log, online, state, held(model), StreamMetrics(), lambda: NOW)


def held(model: LiveModel) -> HeldModel:
    return HeldModel(ModelHolder(model), Catalogue())


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(IN_BUNDLE + LATE + NEVER), min_size=1), min_size=1),
    st.sets(st.sampled_from(LATE)),
    st.sets(st.sampled_from(LATE)),
)
def test_a_request_gets_the_same_with_and_without_what_is_stored(
    model: LiveModel,
    empty: SqliteState,
    tmp_path_factory: pytest.TempPathFactory,
    growing: list[list[str]],
    before: set[str],
    after: set[str],
) -> None:
    model.index.delete(LATE)
    arrive(model, before)
    log = SqliteLog(tmp_path_factory.mktemp("log") / "log.sqlite")
    stored, bare = InMemoryOnlineFeatures(), InMemoryOnlineFeatures()
    publisher = publisher_of(log, stored, empty, model)
    seen: list[str] = []
    for more in growing:
        seen += more
        publisher.publish(Updates(histories={"u": history_of(seen)}))
    bare.push([history_of(seen)])
    arrive(model, after)
    served, fresh = query(stored, model), query(bare, model)
    assert (served is None) == (fresh is None)
    if served is not None and fresh is not None:
        np.testing.assert_allclose(served, fresh, atol=1e-6)
    log.close()


def test_who_has_items_that_never_come_keeps_a_stored_embedding(
    model: LiveModel, log: SqliteLog, empty: SqliteState
) -> None:
    online = InMemoryOnlineFeatures()
    publisher_of(log, online, empty, model).publish(
        Updates(histories={"u": history_of([*NEVER, "i0", NEVER[0]])})
    )
    (stored,) = online.get(UserEmbedding, ["u"])
    assert stored is not None
    assert stored.left_out == tuple(NEVER)
    # The history is not asked for: the embedding is enough.
    online.delete(UserHistory, ["u"])
    assert query(online, model) is stored.vector


def test_a_worker_that_begins_embeds_again_who_lacks_what_has_come(
    model: LiveModel, log: SqliteLog, tmp_path: Path
) -> None:
    model.index.delete(LATE)
    history = history_of(["i0", LATE[0]])
    state = SqliteState(tmp_path / "state.sqlite")
    state.commit(0, 0, Updates(histories={"u": history}), {})
    online = InMemoryOnlineFeatures()
    publisher = publisher_of(log, online, state, model)

    def reencode() -> UserEmbedding | None:
        reencoder = UserReencoder(
            state,
            online,
            held(model),
            publisher,
            StreamMetrics(),
            pause_seconds=0.0,
        )
        while reencoder.step():
            pass
        return online.get(UserEmbedding, ["u"])[0]

    first = reencode()
    assert first is not None
    assert reencode() is first
    arrive(model, {LATE[0]})
    mended = reencode()
    assert mended is not None
    assert mended.left_out == ()
    np.testing.assert_allclose(mended.vector, model.encode_query(history), atol=1e-6)
    state.close()


def test_nothing_is_folded_before_the_items_are_known(log: SqliteLog, tmp_path: Path) -> None:
    caught_up, asked = threading.Event(), threading.Event()

    def has_caught_up() -> bool:
        asked.set()
        return caught_up.is_set()

    online, state = MemoryOnline(), SqliteState(tmp_path / "state.sqlite")
    log.append(EVENTS, [Message("u", event(1).model_dump_json().encode())])
    worker = Worker(log, online, state, FakeModel(), caught_up=has_caught_up, clock=lambda: NOW)
    worker.start()
    assert asked.wait(30)
    assert not worker.ready
    assert online.get(UserHistory, ["u"]) == [None]
    caught_up.set()
    wait_until(lambda: online.get(UserHistory, ["u"]) != [None], seconds=30)
    worker.stop()
    assert worker.failure is None
    state.close()


def test_a_worker_that_is_stopped_while_it_waits_for_items_ends(
    log: SqliteLog, tmp_path: Path
) -> None:
    state = SqliteState(tmp_path / "state.sqlite")
    worker = Worker(log, MemoryOnline(), state, FakeModel(), caught_up=lambda: False)
    worker.start()
    worker.stop()
    assert (worker.failure, worker.ready) == (None, False)
    state.close()
