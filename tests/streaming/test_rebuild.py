"""A state that is lost and rebuilt from the archive goes on as if nothing had happened."""

import itertools
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.archive import Archive
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import (
    EVENTS,
    ITEM_EMBEDDINGS,
    ITEMS,
    USERS,
    LostPositionError,
    Message,
)
from feature_repo.log_records import encode_record
from feature_repo.online_features import ItemStatistics
from feature_repo.schema import Event
from feature_repo.shop_file import ShopFileError
from streaming.archiver import GROUP as ARCHIVE
from streaming.archiver import Archiver
from streaming.dead_letters import dead_letters
from streaming.milestones import REBUILD_BEGUN
from streaming.open_stream_state import open_stream_state
from streaming.rebuild import rebuild, require_log, require_whole
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import OpenState, StateError, StateLost, remember
from streaming.worker import GROUP, Worker
from tests.support.archived import archive_log
from tests.support.interleaved_log import InterleavedLog
from tests.support.read_through import unwaiting
from tests.support.redis_server import database
from tests.support.stream import NOW, FakeModel, MemoryOnline, event, item, user

SCHEMES = ["sqlite", pytest.param("redis", marks=pytest.mark.redis)]
MAX_HISTORY = 200
MIDNIGHT = 12 * 60.0
"""Of the minutes that `event` takes."""

OpenNew = Callable[[], OpenState]


@pytest.fixture(params=SCHEMES)
def new_state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenNew]:
    """Opens a state that is empty, each time another."""
    with ExitStack() as stack:
        opened = 0

        def open_it() -> OpenState:
            nonlocal opened
            opened += 1
            url = f"sqlite://{tmp_path / f'{opened}.sqlite'}"
            if request.param == "redis":
                url = database(request.getfixturevalue("redis_url"), opened)
            state = open_stream_state(url)
            stack.callback(state.close)
            state.reset()
            return state

        yield open_it


def send(log: SqliteLog, count: int) -> None:
    draw = random.Random(1)
    for number in range(count):
        which = draw.randrange(number + 1)  # repeated now and then
        made = event(which, f"u{which % 4}", f"i{which % 3}", which * 997 % 1_400)
        log.append(EVENTS, [Message(made.user_id, made.model_dump_json().encode())])
        if number % 10 == 0:
            gone = number % 20 == 0
            new = item(number % 3, f"title {number}")
            value = None if gone else new.model_dump_json().encode()
            log.append(ITEMS, [Message(new.item_id, value)])
            someone = user(number % 4, number)
            log.append(USERS, [Message(someone.user_id, someone.model_dump_json().encode())])


def work(log: SqliteLog, online: MemoryOnline, state: OpenState) -> None:
    settings = StreamingSettings(
        batch_records=7,
        linger_seconds=0,
        statistics_seconds=0,
        co_visitation=CoVisitationSettings(),
    )
    worker = Worker(
        unwaiting(log), online, state, FakeModel(),
        settings=settings, max_history=MAX_HISTORY, clock=lambda: NOW,
    )  # fmt: skip
    worker.recover()
    while worker.step():
        pass
    worker.stop()


def contents(state: OpenState) -> Any:
    histories = {each.user_id: each for some in state.all_histories() for each in some}
    merged = {each.item_id: each for some in state.all_statistics() for each in some}
    counts = {key: (each.timestamp, each.event_types) for key, each in merged.items()}
    weeks = {key: round(each.week[0], 9) for key, each in merged.items()}
    return histories, counts, weeks


@pytest.mark.parametrize("archived_batches", [1, 3])
def test_rebuilt_and_continued_it_is_the_undisturbed_state(
    tmp_path: Path, new_state: OpenNew, archived_batches: int
) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", [event(900 + n, "u1", "i1", n) for n in range(5)])
    send(log, 60)
    undisturbed, online = new_state(), MemoryOnline()
    rebuild(archive, undisturbed, online, log, max_history=MAX_HISTORY)
    work(log, online, undisturbed)

    settings = StreamingSettings(archive_rows=10)
    archiver = Archiver(unwaiting(log, most=15), archive, settings=settings)
    for _ in range(archived_batches):
        archiver.step()
    archiver.stop()
    assert archive.positions.read()

    lost, new_online = new_state(), MemoryOnline()
    with pytest.raises(StateLost, match="`riverrun rebuild`"):
        require_whole(lost, archive)
    assert rebuild(archive, lost, new_online, log, max_history=MAX_HISTORY) > 5
    require_whole(lost, archive)
    work(log, new_online, lost)
    assert contents(lost) == contents(undisturbed)
    assert lost.count_unpushed() == 0
    kinds = ("UserHistory", "Item", "User")
    assert {key: each for key, each in new_online.state().items() if key[0] in kinds} == {
        key: each for key, each in online.state().items() if key[0] in kinds
    }
    log.close()


def test_a_state_that_is_older_than_what_the_log_holds_is_refused(tmp_path: Path) -> None:
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    online = MemoryOnline()
    log.append(ITEM_EMBEDDINGS, [Message("i0", b"kept for as long as the item")])
    for number in range(3):
        log.append(EVENTS, [Message("u", encode_record(event(number)))])
        with closing(SqliteState(tmp_path / f"{number}.sqlite")) as state:
            work(log, online, state)
            undisturbed = contents(state)
        shutil.copy(tmp_path / f"{number}.sqlite", tmp_path / f"{number + 1}.sqlite")
    archiver = Archiver(log, archive)
    archiver.step()
    archiver.flush()
    archiver.stop()
    assert log.trim(EVENTS, [GROUP, ARCHIVE]) == 3
    with closing(SqliteState(tmp_path / "1.sqlite")) as state:
        with pytest.raises(LostPositionError, match="`riverrun rebuild`"):
            require_log(state, log)
        rebuild(archive, state, online, log, max_history=MAX_HISTORY)
        require_log(state, log)
        work(log, online, state)
        assert contents(state) == undisturbed
    log.close()


def test_of_merged_segments_it_makes_the_same_state(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    archive = Archive(tmp_path / "archive")
    send(log, 60)
    settings = StreamingSettings(archive_rows=2)
    archiver = Archiver(unwaiting(log, most=2), archive, settings=settings)
    while archiver.step():
        pass
    archiver.stop()

    def rebuilt(name: str) -> Any:
        with closing(SqliteState(tmp_path / name)) as state:
            online = MemoryOnline()
            rebuild(archive, state, online, log, max_history=MAX_HISTORY)
            return contents(state), online.state()

    before, files = rebuilt("before"), len(list(archive.root.rglob("*.parquet")))
    now = max(NOW, datetime.now(UTC)) + timedelta(days=9)
    while archive.merge(now):
        pass
    assert rebuilt("between") == before
    for _ in range(5):
        archive.merge(now + timedelta(hours=2))
    assert len(list(archive.root.rglob("*.parquet"))) < files / 2
    assert rebuilt("after") == before
    log.close()


def repeated(minutes: list[float]) -> list[Event]:
    """Events that a shop sends without a time, and some of them again some time later, or twice.

    Two users have events of the same ids. minutes: from midnight to when each was sent first.
    """
    return [
        event(n // 2, f"u{n % 2}", f"i{n % 3}", MIDNIGHT + first + again, ("view", "cart")[n % 2])
        for n, first in enumerate(minutes)
        for again in (0.0, *([0.7] if n % 3 else ()), *([1.5] if n % 4 == 1 else ()))
    ]


@settings(max_examples=20, deadline=None)
@given(
    minutes=st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
    rows=st.integers(1, 8),
)
def test_an_event_that_was_sent_again_after_midnight_counts_once(
    minutes: list[float], order: random.Random, rows: int
) -> None:
    """In whatever order they came, and whichever files of the archive hold them."""
    made = repeated(minutes)
    order.shuffle(made)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        log = stack.enter_context(closing(SqliteLog(home / "log.sqlite")))
        archive = Archive(home / "archive")
        for each in made:
            log.append(EVENTS, [Message(each.user_id, encode_record(each))])
        live, rebuilt = (
            stack.enter_context(closing(SqliteState(home / name))) for name in ("live", "rebuilt")
        )
        work(log, MemoryOnline(), live)
        archive_log(unwaiting(log, most=rows), archive, StreamingSettings(archive_rows=rows))
        chosen = StreamingSettings(co_visitation=CoVisitationSettings())
        online = MemoryOnline()
        rebuild(archive, rebuilt, online, log, settings=chosen, max_history=MAX_HISTORY)
        assert contents(rebuilt) == contents(live)
        assert neighbours(rebuilt) == neighbours(live)
        users = ["u0", "u1"]
        assert rebuilt.load(0, users, ()).moments == live.load(0, users, ()).moments


def neighbours(state: OpenState) -> dict[str, dict[str, float]]:
    return {
        each.item_id: {
            other: round(weight, 9)
            for other, weight in zip(each.neighbour_ids, each.weights, strict=True)
        }
        for some in state.all_co_visitation()
        for each in some
    }


def test_what_only_the_archiver_refused_gets_its_dead_letter(
    tmp_path: Path, new_state: OpenNew
) -> None:
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    bad = [b"\xff", b"{}", b"[]"]
    log.append(EVENTS, [Message("u1", bad[0])])
    send(log, 20)
    state, online = new_state(), MemoryOnline()
    work(log, online, state)
    log.append(EVENTS, [Message("u1", bad[1])])
    send(log, 40)
    archiver = Archiver(log, archive)
    archiver.step()
    archiver.flush()
    archiver.stop()
    log.append(EVENTS, [Message("u1", bad[2])])

    lost = new_state()
    rebuild(archive, lost, online, log, max_history=MAX_HISTORY)
    work(log, online, lost)
    assert [letter.record.value for letter in dead_letters(log)] == bad
    work(log, online, state)
    assert contents(lost) == contents(state)
    log.close()


def test_an_interrupted_rebuild_is_noticed(tmp_path: Path, new_state: OpenNew) -> None:
    state, archive = new_state(), Archive(tmp_path / "archive")
    remember(state, REBUILD_BEGUN)
    with pytest.raises(StateLost, match="interrupted"):
        require_whole(state, archive)


def test_damaged_marks_of_erasures_are_noticed_before_the_state_is_emptied(
    tmp_path: Path, new_state: OpenNew
) -> None:
    log, state, archive = SqliteLog(tmp_path / "log.sqlite"), new_state(), Archive(tmp_path / "a")
    send(log, 20)
    work(log, MemoryOnline(), state)
    before = contents(state)
    archive.marks.write(0, {"u": 7}, {})
    (archive.root / "erasures" / "00000.json").write_bytes(b'[0,{"u"')
    broker = InterleavedLog(log, itertools.cycle([EVENTS, USERS]))
    with pytest.raises(ShopFileError, match="cannot be used"):
        rebuild(archive, state, MemoryOnline(), broker)
    assert contents(state) == before
    log.close()


def test_no_mark_of_an_erasure_is_lost_where_topics_have_fewer_partitions_than_before(
    tmp_path: Path, new_state: OpenNew
) -> None:
    log, state, archive = SqliteLog(tmp_path / "log.sqlite"), new_state(), Archive(tmp_path / "a")
    send(log, 20)
    archive.marks.write(3, {"u": 7}, {})
    rebuild(archive, state, MemoryOnline(), log)
    assert state.load(3, ["u"], ()).erasures == {"u": 7}
    work(log, MemoryOnline(), state)
    log.close()


@pytest.mark.parametrize("messages", [1, 0])
def test_a_worker_notices_that_its_state_was_emptied(
    tmp_path: Path, new_state: OpenNew, messages: int
) -> None:
    """By the next event, or by itself where none comes."""
    log, state = SqliteLog(tmp_path / "log.sqlite"), new_state()
    settings = StreamingSettings(linger_seconds=0)
    worker = Worker(log, MemoryOnline(), state, FakeModel(), settings=settings, clock=lambda: NOW)
    worker.recover()
    send(log, 1)
    worker.step()
    state.reset()
    send(log, messages)
    with pytest.raises(StateLost, match="`riverrun rebuild`"):
        worker.step()
    worker.stop()
    log.close()


def test_a_new_worker_notices_that_the_state_was_emptied_before_anything_was_archived(
    tmp_path: Path, new_state: OpenNew
) -> None:
    log, archive = SqliteLog(tmp_path / "log.sqlite"), Archive(tmp_path / "archive")
    send(log, 20)
    undisturbed, online = new_state(), MemoryOnline()
    work(log, online, undisturbed)
    lost = new_state()
    with pytest.raises(StateLost, match="`riverrun rebuild`"):
        work(log, online, lost)
    rebuild(archive, lost, online, log, max_history=MAX_HISTORY)
    work(log, online, lost)
    assert contents(lost) == contents(undisturbed)
    log.close()


def test_a_state_that_is_down_at_the_start_is_waited_for(
    tmp_path: Path, new_state: OpenNew, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, state = SqliteLog(tmp_path / "log.sqlite"), new_state()
    send(log, 20)
    work(log, MemoryOnline(), state)
    all_statistics, down = state.all_statistics, [StateError("down"), StateError("down")]

    def statistics() -> Iterator[list[ItemStatistics]]:
        yield from all_statistics()
        if down:
            raise down.pop()

    monkeypatch.setattr(state, "all_statistics", statistics)
    told: list[ItemStatistics] = []
    worker = Worker(
        log, MemoryOnline(), state, FakeModel(),
        settings=StreamingSettings(retry_seconds=0.001),
        on_statistics=told.extend, clock=lambda: NOW,
    )  # fmt: skip
    worker.recover()
    assert worker.ready
    assert {each.item_id for each in told} == {"i0", "i1", "i2"}
    worker.stop()
    log.close()
