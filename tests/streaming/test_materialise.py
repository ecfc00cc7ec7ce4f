"""Imported events end in the state in which the stream would have left them."""

import contextlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.archive import Archive
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import EVENTS, USERS, LogRecord, Message, TopicPartition
from feature_repo.history import UserHistory
from feature_repo.online_features import CoVisitation, ItemStatistics, UserEmbedding
from feature_repo.schema import User
from streaming.archive_changes import archive_changes
from streaming.decode import Decoder
from streaming.imports import event_messages
from streaming.materialise import materialise
from streaming.processor import Appended, process
from streaming.rebuild import rebuild
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.stream_state import IMPORTED, whole_keys
from streaming.updates import Updates
from streaming.worker import Worker
from tests.support.archived import archive_log
from tests.support.read_through import unwaiting
from tests.support.stream import NOW, FakeModel, HashEncoder, MemoryOnline, event, item, user

MAX_HISTORY = 8


def events(count: int) -> list[Any]:
    """Return events of six users; each two have one id, and other users."""
    draw = random.Random(1)
    return [
        event(
            n // 2,
            f"u{2 * draw.randrange(3) + n % 2}",
            f"i{draw.randrange(4)}",
            draw.uniform(0, 90),
        )
        for n in range(count)
    ]


def test_import_and_stream_agree(tmp_path: Path) -> None:
    made = events(30)  # so few that no history overflows: what is counted then depends on order
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", made[:12])
    archive.events.write("import-2", made[12:])
    archive.events.write("log-00000-1", [event(99, "live", "live")])
    log = SqliteLog(tmp_path / "log.sqlite")
    online, checkpoint = MemoryOnline(), SqliteState(tmp_path / "imported.sqlite")
    assert materialise(archive, checkpoint, online, log, max_history=30) == 30
    assert materialise(archive, checkpoint, online, log, max_history=30) == 0

    streamed, state = MemoryOnline(), SqliteState(tmp_path / "streamed.sqlite")
    for each in made:
        log.append(EVENTS, [Message(each.user_id, each.model_dump_json().encode())])
    settings = StreamingSettings(statistics_seconds=0)
    worker = Worker(
        log, streamed, state, FakeModel(), settings=settings, max_history=30, clock=lambda: NOW
    )
    worker.recover()
    worker.step()
    for user_id in {each.user_id for each in made}:
        assert online.get(UserHistory, [user_id]) == streamed.get(UserHistory, [user_id])
    for item_id in {each.item_id for each in made}:
        (left,), (right,) = (each.get(ItemStatistics, [item_id]) for each in (online, streamed))
        assert (left.timestamp, left.event_types) == (right.timestamp, right.event_types)
        assert left.week == pytest.approx(right.week)
        assert left.hour == pytest.approx(right.hour)
    assert online.get(UserHistory, ["live"]) == [None]


@pytest.mark.parametrize("minutes", [0.5, 5.5, 6.5, 9.5])
def test_import_and_stream_agree_on_a_history_that_was_kept_longer(
    tmp_path: Path, minutes: float
) -> None:
    """`history_length` was lowered from 10 to 4."""
    known, late = [event(n, minutes=n) for n in range(10)], event(99, minutes=minutes)
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    archive.events.write("import-1", known)
    online, state = MemoryOnline(), SqliteState(tmp_path / "imported.sqlite")
    materialise(archive, state, online, log, max_history=10)
    before = state.load(0, ["u"], ())
    archive.events.write("import-2", [late])
    materialise(archive, state, online, log, max_history=4)
    streamed = process([Appended(late, 1)], before, 4).updates.histories or before.histories
    assert online.get(UserHistory, ["u"]) == [streamed["u"]]
    log.close()


@pytest.mark.parametrize("call", range(12))
def test_two_at_once_fold_each_segment_once(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other folds everything in front of one of the first one's calls to the state."""
    made = events(30)
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", made[:12])
    archive.events.write("import-2", made[12:])
    archive.write_users("import-1", [user(1)])
    log = SqliteLog(tmp_path / "log.sqlite")
    alone, online = SqliteState(tmp_path / "alone.sqlite"), MemoryOnline()
    materialise(archive, alone, online, log, max_history=30)
    one, other = SqliteState(tmp_path / "both.sqlite"), SqliteState(tmp_path / "both.sqlite")
    calls = 0

    def intruded(method: Callable[..., Any]) -> Callable[..., Any]:
        def intrude(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call + 1:
                materialise(archive, other, MemoryOnline(), log, max_history=30)
            return method(*arguments, **named)

        return intrude

    for name in ("load", "commit", "milestones"):
        monkeypatch.setattr(one, name, intruded(getattr(one, name)))
    materialise(archive, one, MemoryOnline(), log, max_history=30)
    assert calls > call
    assert contents(other) == contents(alone)
    assert other.count_unpushed() == 0
    log.close()


def neighbours(online: MemoryOnline) -> dict[str, tuple[str, ...]]:
    """Return what the online store says of which items go together."""
    read = online.get(CoVisitation, [f"i{number}" for number in range(4)])
    return {each.item_id: each.neighbour_ids for each in read if each is not None}


@pytest.mark.parametrize("make", [materialise, rebuild])
def test_readers_are_told_which_items_go_together(tmp_path: Path, make: Callable[..., int]) -> None:
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", events(30))
    log = SqliteLog(tmp_path / "log.sqlite")

    def told(name: str, settings: CoVisitationSettings) -> dict[str, tuple[str, ...]]:
        state, online = SqliteState(tmp_path / name), MemoryOnline()
        chosen = StreamingSettings(co_visitation=settings)
        make(archive, state, online, log, settings=chosen, max_history=30)
        assert state.count_unpushed() == 0
        made = {each.item_id: each for some in state.all_co_visitation() for each in some}
        most = settings.neighbours
        assert neighbours(online) == {key: each.neighbour_ids[:most] for key, each in made.items()}
        assert all(each.neighbour_ids for each in made.values())
        return neighbours(online)

    assert len(told("all.sqlite", CoVisitationSettings())) == 4
    assert max(map(len, told("one.sqlite", CoVisitationSettings(neighbours=1)).values())) == 1
    # Weighed as the stream weighs.
    alone = CoVisitationSettings(window_days=0.0)
    assert told("alone.sqlite", alone) == {}
    assert told("off.sqlite", CoVisitationSettings(neighbours=0)) == {}
    log.close()


def test_what_was_told_before_co_visitation_was_turned_off_is_not_blanked(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", events(30))
    log, online = SqliteLog(tmp_path / "log.sqlite"), MemoryOnline()
    state = SqliteState(tmp_path / "state.sqlite")
    on = StreamingSettings(co_visitation=CoVisitationSettings())
    materialise(archive, state, online, log, settings=on, max_history=30)
    before = neighbours(online)
    known = {each.item_id: each for some in state.all_co_visitation() for each in some}
    version = state.load(IMPORTED, (), ()).version
    state.commit(IMPORTED, version, Updates(co_visitation=known), {})
    materialise(archive, state, online, log, settings=StreamingSettings(), max_history=30)
    assert state.count_unpushed() == 0
    assert neighbours(online) == before
    log.close()


def contents(state: SqliteState) -> Any:
    histories = {each.user_id: each for some in state.all_histories() for each in some}
    return histories, {each.item_id: each for some in state.all_statistics() for each in some}


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    made = events(100)
    archive = Archive(tmp_path / "archive")
    for number in range(0, 100, 25):
        archive.events.write(f"import-{number}", made[number : number + 25])
    online, checkpoint = MemoryOnline(), SqliteState(tmp_path / "checkpoint.sqlite")
    log = SqliteLog(tmp_path / "log.sqlite")
    materialise(archive, checkpoint, online, log, max_history=MAX_HISTORY)
    for user_id in {each.user_id for each in made}:
        own = sorted((e for e in made if e.user_id == user_id), key=lambda e: e.timestamp)
        (history,) = online.get(UserHistory, [user_id])
        assert [e.event_id for e in history.events] == [e.event_id for e in own[-MAX_HISTORY:]]


def test_interrupted_and_repeated_it_ends_in_the_same_state(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    archive.events.write("import-1", events(40))
    log = SqliteLog(tmp_path / "log.sqlite")

    def state(checkpoint: SqliteState) -> Any:
        return list(checkpoint.all_histories()), list(checkpoint.all_statistics())

    whole = SqliteState(tmp_path / "whole.sqlite")
    materialise(archive, whole, MemoryOnline(), log, max_history=MAX_HISTORY)
    for calls in range(4):
        folder = tmp_path / f"{calls}.sqlite"
        online = MemoryOnline()
        interrupted = InterruptedState(folder, calls)
        with contextlib.suppress(KeyboardInterrupt):
            materialise(archive, interrupted, online, log, max_history=MAX_HISTORY)
        interrupted.close()
        checkpoint = SqliteState(folder)
        materialise(archive, checkpoint, online, log, max_history=MAX_HISTORY)
        assert state(checkpoint) == state(whole)
        assert checkpoint.count_unpushed() == 0


class InterruptedState(SqliteState):
    """Is interrupted after some commits."""

    def __init__(self, path: Path, commits: int) -> None:
        super().__init__(path)
        self._left = commits

    def commit(self, *args: Any, **kwargs: Any) -> str:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().commit(*args, **kwargs)


def test_users_that_are_imported_alone_are_taken_up(tmp_path: Path) -> None:
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    state, online = SqliteState(tmp_path / "state.sqlite"), MemoryOnline()
    for age in (1, 2, 3, 1):
        archive.import_users(f"import-{age}", [user(1, age)])
        materialise(archive, state, online, log)
        assert online.get(User, ["u1"]) == [user(1, age)]
    log.close()


def test_a_server_is_given_a_shop_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    archive.import_users("import-1", [user(number) for number in range(4_001)])
    archive.import_items("import-1", [item(number) for number in range(2_001)])
    archive.marks.write(0, {f"gone{number}": 1 for number in range(2_001)}, {})
    sizes = []
    for make in (rebuild, materialise):
        state, online = SqliteState(tmp_path / f"{make.__name__}.sqlite"), MemoryOnline()
        commit = state.commit

        def measured(*args: Any, commit: Any = commit, **named: Any) -> str:
            sizes.append(len(whole_keys(args[2])))
            return commit(*args, **named)

        monkeypatch.setattr(state, "commit", measured)
        make(archive, state, online, log)
        assert max(sizes) <= 2_000
        users = [f"u{number}" for number in range(4_001)]
        assert online.get(User, users) == [user(number) for number in range(4_001)]
        assert not state.count_unpushed()
        state.close()
    log.close()


@pytest.mark.parametrize("commits", range(4))
def test_interrupted_between_two_pages_all_users_are_taken_up(tmp_path: Path, commits: int) -> None:
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    users = [user(number) for number in range(4_001)]
    archive.import_users("import-1", users)
    path, online = tmp_path / "state.sqlite", MemoryOnline()
    interrupted = InterruptedState(path, commits)
    with contextlib.suppress(KeyboardInterrupt):
        materialise(archive, interrupted, online, log)
    interrupted.close()
    state = SqliteState(path)
    materialise(archive, state, online, log)
    assert online.get(User, [each.user_id for each in users]) == users
    assert not state.count_unpushed()
    state.close()
    log.close()


@pytest.mark.parametrize("archived", [False, True])
def test_what_the_log_says_of_a_user_after_an_import_stays(tmp_path: Path, archived: bool) -> None:
    """Whether or not it is in the archive yet; of what it said before, the import is the newer."""
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    state, online = SqliteState(tmp_path / "state.sqlite"), MemoryOnline()

    def say(number: int, age: int | None) -> None:
        value = None if age is None else user(number, age).model_dump_json().encode()
        log.append(USERS, [Message(f"u{number}", value)])

    def archive_it() -> None:
        archive_log(log, archive)

    say(1, 1)
    say(4, 1)
    archive_it()
    archive.write_users("import-1", [user(number, 5) for number in range(1, 5)])
    archive.events.write("import-1", [event(number, f"u{number}") for number in range(1, 5)])
    say(2, 9)
    say(3, None)
    if archived:
        archive_it()
    worker = Worker(unwaiting(log), online, state, FakeModel(), clock=lambda: NOW)
    worker.recover()
    while worker.step():
        pass
    materialise(archive, state, online, log)
    assert online.get(User, ["u1", "u2", "u3", "u4"]) == [user(1, 5), user(2, 9), None, user(4, 5)]
    histories = online.get(UserHistory, ["u1", "u2", "u3", "u4"])
    assert [each and len(each.events) for each in histories] == [1, 1, None, 1]
    worker.stop()
    log.close()


def test_an_import_of_older_events_leaves_no_embedding_of_the_history_before(
    tmp_path: Path,
) -> None:
    """The newest event, by which readers tell an embedding's history, is the same."""
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    state, online = SqliteState(tmp_path / "state.sqlite"), MemoryOnline()
    log.append(EVENTS, [Message("u", event(9, minutes=9).model_dump_json().encode())])

    def stream() -> UserEmbedding:
        worker = Worker(unwaiting(log), online, state, FakeModel(), clock=lambda: NOW)
        worker.recover()
        while worker.step() or worker._reencoder.step():
            pass
        worker.stop()
        (embedding,) = online.get(UserEmbedding, ["u"])
        return embedding

    of_one = stream().vector
    archive.events.write("import-1", [event(1, item="i1")])
    materialise(archive, state, online, log)
    (history,) = online.get(UserHistory, ["u"])
    assert online.get(UserEmbedding, ["u"]) == [None]
    (of_two,) = HashEncoder().encode_queries([history])
    assert np.array_equal(stream().vector, of_two)
    assert not np.array_equal(of_one, of_two)
    log.close()


def test_an_import_wins_over_what_the_worker_has_still_to_read_of_a_user(tmp_path: Path) -> None:
    archive, log = Archive(tmp_path / "archive"), SqliteLog(tmp_path / "log.sqlite")
    state, online = SqliteState(tmp_path / "state.sqlite"), MemoryOnline()
    log.append(USERS, [Message("u1", user(1, 1).model_dump_json().encode())])
    archive_changes(log, archive, StreamingSettings())
    archive.import_users("import-1", [user(1, 5), user(2, 5)])
    materialise(archive, state, online, log)
    worker = Worker(unwaiting(log), online, state, FakeModel(), clock=lambda: NOW)
    worker.recover()
    while worker.step():
        pass
    worker.stop()
    assert online.get(User, ["u1", "u2"]) == [user(1, 5), user(2, 5)]
    state.close()
    log.close()


def test_an_event_goes_through_the_log_as_it_was_imported(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    whole = event(1).model_copy(
        update={
            "value": 2.5,
            "query": "ü",
            "request_id": "r",
            "context": {"page": [1, {"a": None}], "order": 10**20},
        }
    )
    later = event(2, "v", minutes=1)
    archive.events.write("import-1", [later, whole])
    ((first, second),) = event_messages(archive.events.scan_segment("import-1"))
    assert (first.key, second.key) == ("u", "v")
    decoder = Decoder((), timedelta(0))
    source = TopicPartition(EVENTS, 0)
    for message, made in ((first, whole), (second, later)):
        assert decoder.decode(LogRecord(source, 0, *message)) == made
