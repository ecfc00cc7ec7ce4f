"""A state, and an online store, belong to one shop: another is refused, and changes nothing."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, Message
from streaming.open_stream_state import open_stream_state
from streaming.rebuild import rebuild
from streaming.settings import StreamingSettings
from streaming.shop_identity import SHOP_KEY, require_own_state
from streaming.sqlite_log import SqliteLog
from streaming.store_watch import StoreWatch
from streaming.stream_state import ForeignShop, OpenState, positions_of
from streaming.updates import Updates
from streaming.worker import Worker
from tests.support.redis_server import database
from tests.support.stream import NOW, FakeModel, MemoryOnline, event
from tests.support.stream_states import commit, history

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]

Open = Callable[[int], OpenState]


@pytest.fixture(params=SCHEMES)
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the state of a number, as one process after another does. It is empty at first."""
    with ExitStack() as stack:
        known: set[int] = set()

        def open_it(number: int) -> OpenState:
            url = f"sqlite://{tmp_path / f'{number}.sqlite'}"
            if request.param == "redis":
                url = database(request.getfixturevalue("redis_url"), number)
            state = open_stream_state(url)
            stack.callback(state.close)
            if number not in known:
                known.add(number)
                state.reset()
            return state

        yield open_it


def archive(folder: Path, name: str) -> Archive:
    return Archive(folder / name / "archive")


def contents(state: OpenState) -> Any:
    histories = [each for some in state.all_histories() for each in some]
    return positions_of(state), histories, state.milestones()


def test_an_archive_has_one_id_and_its_copies_have_it_too(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(Archive(tmp_path / "a").identity) for _ in range(32)]
    (known,) = {each.result() for each in asked}
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert Archive(tmp_path / "copy").identity() == known
    assert Archive(tmp_path / "b").identity() != known


def test_a_state_is_the_first_shops_and_no_others(tmp_path: Path, open_state: Open) -> None:
    state = open_state(1)
    # As an earlier version left it.
    commit(state, 0, Updates(histories={"u": history("u", 1)}), {EVENTS: 1})
    first, second = (archive(tmp_path, name) for name in ("first", "second"))
    for _ in range(2):
        require_own_state(open_state(1), first, "state redis://h/0")
    before = contents(state)
    with pytest.raises(ForeignShop, match=r"^state redis://h/0 is another shop's: set another"):
        require_own_state(open_state(1), second, "state redis://h/0")
    assert contents(state) == before
    # Whose archive was lost can say so.
    second.id_file.write_text(first.identity() + "\n")
    require_own_state(open_state(1), second, "state redis://h/0")


def test_of_shops_that_start_together_one_is_refused(tmp_path: Path, open_state: Open) -> None:
    other = open_state(1)

    class Between:
        """Lets the other shop start between a read and the commit over it."""

        def __getattr__(self, name: str) -> Any:
            if name == "commit":
                require_own_state(other, archive(tmp_path, "other"), "state")
            return getattr(mine, name)

    mine = open_state(1)
    with pytest.raises(ForeignShop):
        require_own_state(Between(), archive(tmp_path, "own"), "state")
    assert mine.milestones().shop == archive(tmp_path, "other").identity()


def test_a_rebuilt_state_is_still_the_shops(tmp_path: Path, open_state: Open) -> None:
    own, state, log = archive(tmp_path, "own"), open_state(1), SqliteLog(tmp_path / "log.sqlite")
    require_own_state(state, own, "state")
    rebuild(own, state, MemoryOnline(), log)
    assert state.milestones().shop == own.identity()
    log.close()


def test_a_store_of_two_shops_is_refused_by_the_second(tmp_path: Path, open_state: Open) -> None:
    online, log = MemoryOnline(), SqliteLog(tmp_path / "log.sqlite")
    shops = [archive(tmp_path, name) for name in ("first", "second")]
    states = [open_state(number) for number in (1, 2)]
    for shop, state in zip(shops, states, strict=True):
        require_own_state(state, shop, "state")
    first, second = (StoreWatch(state, online) for state in states)
    first.look()
    log.append(EVENTS, [Message("u", event(1, "u").model_dump_json().encode())])
    commit(states[1], 0, Updates(histories={"u": history("u", 1)}), {EVENTS: 1})
    before, told = contents(states[1]), dict(online.records)
    with pytest.raises(ForeignShop, match="another shop's: set another database"):
        second.step()
    # A rebuild asks before it empties the state.
    with pytest.raises(ForeignShop):
        rebuild(shops[1], states[1], online, log)
    assert contents(states[1]) == before
    assert online.records == told
    # A store that was emptied is nobody's, until its shop has looked at it.
    online.records.clear()
    first.look()
    with pytest.raises(ForeignShop):
        second.look()
    log.close()


def test_a_worker_at_work_ends_where_another_shop_has_its_store(
    tmp_path: Path, open_state: Open
) -> None:
    online, log, state = MemoryOnline(), SqliteLog(tmp_path / "log.sqlite"), open_state(1)
    require_own_state(state, archive(tmp_path, "own"), "state")
    now = 0.0
    worker = Worker(
        log,
        online,
        state,
        FakeModel(),
        settings=StreamingSettings(linger_seconds=0),
        clock=lambda: NOW,
        monotonic=lambda: now,
    )
    worker.recover()
    worker.step()
    online.records.clear()
    other = open_state(2)
    require_own_state(other, archive(tmp_path, "other"), "state")
    StoreWatch(other, online).look()
    now = 10.0
    with pytest.raises(ForeignShop):
        worker.step()
    assert SHOP_KEY in {key for _, key in online.records}
    worker.stop()
    log.close()
