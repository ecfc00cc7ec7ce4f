"""What was archived is read as it was written, each event once, whatever happened between."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.archive import EVENT_SCHEMA, Archive, events_frame
from feature_repo.schema import Event, Item, User
from tests.support.records import EVENT_TYPES, IDENTIFIERS, ITEMS, TEXTS, TIMESTAMPS

EXAMPLES = settings(max_examples=25)
DAY = date(2026, 1, 1)
EVENTS = st.builds(
    Event,
    # Some of several users have one id.
    event_id=IDENTIFIERS | st.sampled_from(["a", "b"]),
    user_id=IDENTIFIERS | st.sampled_from(["u", "w"]),
    item_id=IDENTIFIERS,
    event_type=EVENT_TYPES,
    # Most in few days, so that files are shared.
    timestamp=TIMESTAMPS
    | st.integers(0, 60).map(lambda hour: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)),
    value=st.none() | st.floats(-1e12, 1e12),
    query=st.none() | TEXTS,
    request_id=st.none() | IDENTIFIERS,
    context=st.dictionaries(TEXTS, TEXTS | st.booleans() | st.none(), max_size=3),
)


def key_of(event: Event) -> tuple[str, str]:
    return event.user_id, event.event_id


SEGMENTS = st.lists(st.lists(EVENTS, max_size=5, unique_by=key_of), max_size=4)


def event(name: str, hour: int = 0, user: str = "u") -> Event:
    return Event(
        event_id=name,
        user_id=user,
        item_id="i",
        event_type="view",
        timestamp=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour),
    )


def read(events: pl.LazyFrame) -> list[Event]:
    """Read archived events back, in order of time."""
    rows = events.sort("timestamp", "event_id", "user_id").collect().to_dicts()
    return [
        Event.model_validate({**row, "context": orjson.loads(row["context"] or "{}")})
        for row in rows
    ]


def ordered(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.timestamp, event.event_id, event.user_id))


@EXAMPLES
@given(st.lists(EVENTS, max_size=8, unique_by=key_of))
def test_events_come_back_as_they_were(events: list[Event]) -> None:
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        assert archive.events.write("s", events) == len(events)
        assert read(archive.events.scan()) == ordered(events)
        assert read(archive.events.scan_segment("s")) == ordered(events)
        assert archive.events.complete() == ["s"]


@EXAMPLES
@given(SEGMENTS)
def test_an_event_of_several_segments_is_read_once(segments: list[list[Event]]) -> None:
    # The same id of a user is the same event: it has one content.
    known = {key_of(event): event for segment in segments for event in segment}
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        for number, segment in enumerate(segments):
            archive.events.write(f"s{number}", [known[key_of(event)] for event in segment])
        assert read(archive.events.scan()) == ordered(known.values())


@EXAMPLES
@given(SEGMENTS)
def test_writing_a_segment_again_replaces_all_of_it(segments: list[list[Event]]) -> None:
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        archive.events.write("other", [event("of-other")])
        for segment in segments:
            archive.events.write("s", segment)
            assert read(archive.events.scan_segment("s")) == ordered(segment)
        assert [one.event_id for one in read(archive.events.scan_segment("other"))] == ["of-other"]


@EXAMPLES
@given(
    st.lists(EVENTS, max_size=8, unique_by=key_of),
    TIMESTAMPS,
    st.timedeltas(timedelta(0), timedelta(days=20_000)),
)
def test_a_scan_of_a_time_holds_its_events_and_no_others(
    events: list[Event], start: datetime, duration: timedelta
) -> None:
    end = min(start + duration, datetime(2100, 1, 1, tzinfo=UTC))
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        archive.events.write("s", events)
        within = [event for event in events if start <= event.timestamp < end]
        assert read(archive.events.scan(start, end)) == ordered(within)


def test_a_frame_is_written_as_the_events_are(tmp_path: Path) -> None:
    events = [event("a"), event("b", 30)]
    assert Archive(tmp_path).events.write("s", events_frame(events)) == 2
    assert read(Archive(tmp_path).events.scan()) == events


def test_an_empty_archive_has_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "none")
    assert archive.events.scan().collect().schema == EVENT_SCHEMA
    assert archive.events.scan().collect().is_empty()
    assert archive.events.complete() == []
    assert archive.items() == []
    assert archive.item_changes.keys() == []
    assert archive.users() == []
    assert archive.events.keys_of(DAY).is_empty()


def test_files_that_a_writer_did_not_finish_are_not_read(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.events.write("s", [event("a")])
    archive.write_items("s", [Item(item_id="i")])
    for file in [*tmp_path.rglob("*.parquet"), *tmp_path.rglob("*.json")]:
        file.with_name(f".{file.name}.1a2b3c4d").write_bytes(b"half")
        file.with_name(f".{file.name}").write_bytes(b"half")
    assert read(archive.events.scan()) == [event("a")]
    assert archive.events.complete() == ["s"]
    assert archive.events.keys_of(DAY)["event_id"].to_list() == ["a"]
    assert [item.item_id for item in archive.items()] == ["i"]
    assert archive.write_items("t", [Item(item_id="j")]) == 1
    assert len(archive.items()) == 2


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.events.write("s", [event("a")])

    def half(frame: pl.DataFrame, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", half)
        with pytest.raises(OSError, match="No space"):
            archive.events.write("s", [event("b")])
    assert read(archive.events.scan()) == [event("a")]
    assert list(tmp_path.rglob(".*")) == []


def test_events_of_a_segment_that_was_cut_short_do_not_pass_for_known(tmp_path: Path) -> None:
    """A writer killed within a segment comes back with all of it, and must not skip half."""
    archive = Archive(tmp_path)
    archive.events.write("whole", [event("a")])
    archive.events.write("cut-short", [event("b"), event("c", 24)])
    (tmp_path / "segments" / "cut-short.json").unlink()
    assert archive.events.keys_of(DAY)["event_id"].to_list() == ["a"]
    assert archive.events.complete() == ["whole"]
    archive.events.write("cut-short", [event("b"), event("c", 24)])
    assert archive.events.keys_of(DAY)["event_id"].sort().to_list() == ["a", "b"]


CHANGES = st.lists(
    st.tuples(st.lists(ITEMS, max_size=3), st.lists(st.integers(0, 5), max_size=2, unique=True)),
    max_size=5,
)


@EXAMPLES
@given(CHANGES)
def test_the_latest_state_of_an_item_wins(changes: list[tuple[list[Item], list[int]]]) -> None:
    state: dict[str, Item] = {}
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        for number, (items, deleted) in enumerate(changes):
            # Few ids, so that items change and go.
            changed = [
                item.model_copy(update={"item_id": f"i{index}"}) for index, item in enumerate(items)
            ]
            gone = [f"i{index}" for index in deleted if index >= len(changed)]
            archive.write_items(f"s{number}", changed, deleted=gone)
            state |= {item.item_id: item for item in changed}
            for item_id in gone:
                state.pop(item_id, None)
        assert archive.items() == [state[item_id] for item_id in sorted(state)]
        assert archive.item_changes.keys() == sorted(state)


def test_a_segment_of_items_keeps_its_place_when_it_is_written_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.write_items("first", [Item(item_id="i", title="old")])
    archive.write_items("import-first", [Item(item_id="i", title="new")])
    archive.write_items("first", [Item(item_id="i", title="old"), Item(item_id="j")])
    assert [(item.item_id, item.title) for item in archive.items()] == [("i", "new"), ("j", "")]


FILES = [{"i": 10}, {"i": 5}, {"i": 10, "j": 1}, {"j": 2}]


@given(imports=st.lists(st.integers(0, len(FILES)), max_size=8))
def test_what_was_imported_last_is_so(imports: list[int]) -> None:
    """Whether it was imported before or not, and whatever deleted it since."""
    state: dict[str, int] = {}
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        for number, which in enumerate(imports):
            if which == len(FILES):
                archive.write_items(f"log-{number}", [], deleted=["i"])
                state.pop("i", None)
                continue
            items = [Item(item_id=name, price=price) for name, price in FILES[which].items()]
            archive.import_items(f"import-{which}", items)
            state |= FILES[which]
            files = len(list(Path(folder, "items").iterdir()))
            archive.import_items(f"import-{which}", items)
            assert len(list(Path(folder, "items").iterdir())) == files
            assert {item.item_id: item.price for item in archive.items()} == state
        assert {item.item_id: item.price for item in archive.items()} == state


def test_users_that_are_imported_anew_are_of_a_new_segment(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for segment, age in [("import-a", 1.0), ("import-b", 2.0), ("import-a", 1.0)] * 2:
        user = User(user_id="u", attributes={"age": age})
        archive.import_users(segment, [user])
        assert archive.users() == archive.users_of(archive.user_changes.segments()[-1:]) == [user]
    assert archive.user_changes.segments() == [
        "import-a", "import-b", "import-a.2", "import-b.2", "import-a.3"
    ]  # fmt: skip
    archive.erase_users({"u": 0})
    archive.import_users("import-a", [user])
    assert archive.users_of(["import-a.4"]) == [user]


def test_every_user_is_of_the_segment_that_brought_the_newest_state(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.user_changes.segments() == []
    for number, segment in enumerate(["log-a-1", "import-b", "import-c"]):
        users = [User(user_id=f"u{n}", attributes={"n": float(number)}) for n in range(number, 4)]
        archive.write_users(segment, users)
    assert archive.user_changes.segments() == ["log-a-1", "import-b", "import-c"]
    by_segment = [archive.users_of([each]) for each in archive.user_changes.segments()]
    assert [[user.user_id for user in some] for some in by_segment] == [
        ["u0"],
        ["u1"],
        ["u2", "u3"],
    ]
    assert archive.users_of(archive.user_changes.segments()) == archive.users()


def test_an_erased_user_is_gone_and_nobody_else(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.events.write("s", [event("a"), event("b", 24, "v"), event("c", 48)])
    archive.events.write("t", [event("d", 0, "v"), event("e", 0)])
    archive.write_users("s", [User(user_id="u"), User(user_id="v")])
    assert archive.erase_users({"u": 0}) == 3
    assert [one.event_id for one in read(archive.events.scan())] == ["d", "b"]
    assert [user.user_id for user in archive.users()] == ["v"]
    assert archive.erase_users({"u": 0}) == 0
    assert archive.events.complete() == ["s", "t"]


def test_it_knows_when_users_were_erased(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.marks.erased_at() == {}
    archive.marks.write(0, {"u": 7, "v": 8}, {"u": 1_000, "v": 2_000})
    archive.marks.write(1, {"v": 3}, {"v": 1_500})
    assert archive.marks.erased_at() == {"u": 1_000, "v": 2_000}
    assert archive.marks.moments() == {0: {"u": 7, "v": 8}, 1: {"v": 3}}
    # As it was written when times were not: the file is no older than they.
    file = tmp_path / "erasures" / "00002.json"
    file.write_bytes(orjson.dumps([2, {"w": 4}]))
    assert archive.marks.moments()[2] == {"w": 4}
    assert archive.marks.erased_at()["w"] == file.stat().st_mtime_ns // 10**6
    file.write_bytes(orjson.dumps([2, {"w": 4}, {"w": 3_000}]))
    assert archive.marks.erased_at()["w"] == 3_000
    # An older version, on a broker, has erased again who was erased, and left the file of times.
    archive.marks.write(3, {"x": 5_000, "y": 5_000}, {"x": 5_000, "y": 5_000})
    (tmp_path / "erasures" / "00003.json").write_bytes(orjson.dumps([3, {"x": 9_000, "y": 5_000}]))
    assert (archive.marks.erased_at()["x"], archive.marks.erased_at()["y"]) == (9_000, 5_000)


def test_older_versions_can_read_its_marks(tmp_path: Path) -> None:
    """They make a dictionary of the pairs that they find."""
    archive = Archive(tmp_path)
    archive.marks.write(0, {"u": 7}, {"u": 1_000})
    archive.marks.write(1, {"v": 3}, {})
    found = [orjson.loads(file.read_bytes()) for file in (tmp_path / "erasures").glob("[!.]*.json")]
    assert sorted(map(len, found)) == [2, 2]
    assert dict(found) == archive.marks.moments() == {0: {"u": 7}, 1: {"v": 3}}


def test_it_knows_what_the_log_took_last(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.events.last_moment() == 0
    archive.events.write("import", [event("a")])
    assert archive.events.last_moment() == 0
    archive.events.write("log-1", [event("b"), event("c", 48)], [7, 5])
    archive.write_items("log-2", [Item(item_id="i")])
    archive.write_users("log-3", [User(user_id="u")])
    (tmp_path / "segments" / "log-1.json").unlink()
    assert archive.events.last_moment() == 7
    assert archive.written_segments() == {"import", "log-1", "log-2", "log-3"}


@pytest.mark.parametrize("segment", ["", "a/b", "..", ".hidden", "x" * 201, "star*", "line\n"])
def test_a_segment_is_a_plain_name(tmp_path: Path, segment: str) -> None:
    with pytest.raises(ValueError, match="`segment` must be"):
        Archive(tmp_path).events.write(segment, [event("a")])
