"""A merge changes nothing that is read of an archive, wherever it is interrupted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import log2
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo import merging
from feature_repo.archive import MOMENT, Archive
from feature_repo.event_log import TopicPartition
from feature_repo.schema import Event, Item, User
from feature_repo.segment_names import LIVE, merged_at
from streaming.rebuild import last_offset

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.integers(0, 4)
HOUR = timedelta(hours=1)

LIVE_SEGMENT = st.tuples(
    st.just("live"),
    st.lists(st.integers(0, 30), max_size=3, unique=True),
    st.dictionaries(NAMES, st.none() | st.integers(1, 9), max_size=2),
    st.dictionaries(NAMES, st.integers(1, 9), max_size=2),
    st.integers(0, 2),
)
IMPORT = st.tuples(
    st.just("import"),
    st.dictionaries(NAMES, st.none() | st.integers(1, 9), min_size=1, max_size=2),
    st.dictionaries(NAMES, st.integers(1, 9), min_size=1, max_size=2),
)
MERGE = st.tuples(st.just("merge"), st.sampled_from([0.0, 0.4, 2.0]), st.none() | st.integers(0, 9))
ERASE = st.tuples(st.just("erase"), NAMES)
STEPS = st.lists(LIVE_SEGMENT | LIVE_SEGMENT | IMPORT | MERGE | MERGE | ERASE, max_size=25)


class Killed(BaseException):
    pass


@contextmanager
def killed_after(operations: int) -> Iterator[None]:
    """Let the process change the names of so many files, and then not do anything any more."""
    left = operations
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            real = getattr(Path, name)

            def limited(*arguments: Any, real: Any = real, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real(*arguments, **named)

            patch.setattr(Path, name, limited)
        yield


@contextmanager
def two_are_enough() -> Iterator[None]:
    """Merge what a short example has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "FEWEST_FILES", 2)
        yield


def event(number: int, user: int, hour: int) -> Event:
    """Of one user for each number: an id belongs to one event, whichever segments hold it."""
    return Event(
        event_id=f"e{number}",
        user_id=f"u{user}",
        item_id="i",
        event_type="view",
        timestamp=FIRST_DAY + timedelta(hours=hour),
    )


def imported(segments: list[str]) -> list[str]:
    return [segment for segment in segments if not segment.startswith(LIVE)]


def what_is_read(archive: Archive) -> dict[str, Any]:
    items_by_import = {
        segment: {
            key: record for some in archive.items_of([segment]) for key, record in some.items()
        }
        for segment in imported(archive.item_changes.segments())
    }
    return {
        "events": archive.events.scan().sort("event_id").collect().rows(),
        "days": {
            day: set(archive.events.scan_day(day).collect().rows()) for day in archive.events.days()
        },
        "keys": {day: set(archive.events.keys_of(day).rows()) for day in archive.events.days()},
        "items": archive.items(),
        "deleted": archive.deleted_items(),
        "users": archive.users(),
        "item segments": items_by_import,
        "user segments": [
            (segment, archive.users_of([segment]))
            for segment in imported(archive.user_changes.segments())
        ],
        "event segments": imported(archive.events.complete()),
        "last moment": archive.events.last_moment(),
        "last offset": last_offset(archive),
    }


class Shop:
    """An archive that is merged, and beside it one that is not."""

    def __init__(self, folder: Path) -> None:
        self.merged, self.plain = Archive(folder / "merged"), Archive(folder / "plain")
        self.both = (self.merged, self.plain)
        # Changes that a merge may take up are an hour old.
        self.now = datetime.now(UTC) + 2 * HOUR
        self.offset = 0

    def live(
        self,
        events: list[int],
        items: dict[int, int | None],
        users: dict[int, int],
        part: int,
    ) -> None:
        first, self.offset = self.offset, self.offset + 10
        topic = ("events", "items", "users")[part]
        segment = f"{LIVE}{topic}-00000-{first:015d}-{first:020d}-{self.offset:020d}"
        made = [event(number, number % 5, number * 2) for number in events]
        for archive in self.both:
            if made:
                moments = [first + place for place in range(len(made))]
                archive.events.write(segment, made, moments)
            if items:
                archive.write_items(segment, *states(items))
            if users:
                archive.write_users(segment, profiles(users))
            archive.positions.write({TopicPartition("events", 0): self.offset})

    def imported(self, items: dict[int, int | None], users: dict[int, int]) -> None:
        name = f"import-{len(items)}-{self.offset}"
        user = next(iter(users))
        made = event(100 + 5 * self.offset + user, user, 1)
        for archive in self.both:
            archive.import_items(name, *states(items))
            archive.import_users(name, profiles(users))
            archive.events.write(name, [made])

    def merge(self, hours: float, killed: int | None) -> None:
        self.now += hours * HOUR
        if killed is None:
            self.merged.merge(self.now)
            return
        try:
            with killed_after(killed):
                self.merged.merge(self.now)
        except Killed:
            pass

    def erase(self, user: int) -> None:
        for archive in self.both:
            archive.erase_users({f"u{user}": self.offset - 5})
        for day in self.merged.events.days():
            left = (
                self.merged.events.scan_day(day).filter(pl.col("user_id") == f"u{user}").collect()
            )
            assert all(moment > self.offset - 5 for moment in left[MOMENT])


def states(items: dict[int, int | None]) -> tuple[list[Item], list[str]]:
    changed = [
        Item(item_id=f"i{key}", price=price) for key, price in items.items() if price is not None
    ]
    return changed, [f"i{key}" for key, price in items.items() if price is None]


def profiles(users: dict[int, int]) -> list[User]:
    return [User(user_id=f"u{key}", attributes={"age": float(age)}) for key, age in users.items()]


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_merged_archive_reads_as_one_that_is_not(steps: list[tuple[Any, ...]]) -> None:
    with TemporaryDirectory() as folder, two_are_enough():
        shop = Shop(Path(folder))
        actions = {
            "live": shop.live, "import": shop.imported, "merge": shop.merge, "erase": shop.erase
        }  # fmt: skip
        for name, *arguments in steps:
            actions[name](*arguments)
            assert what_is_read(shop.merged) == what_is_read(shop.plain)
        for _ in range(5):
            shop.merge(2.0, None)
            assert what_is_read(shop.merged) == what_is_read(shop.plain)


@pytest.mark.parametrize("killed", [None, 0, 1, 2, 3, 7, 20, 40])
def test_what_was_merged_is_removed_once_no_reader_has_it_in_hand(
    tmp_path: Path, killed: int | None
) -> None:
    shop = Shop(tmp_path)
    for number in range(12):
        shop.live([number], {number % 5: number + 1}, {number % 5: number + 1}, number % 3)
        if number == 2:
            shop.imported({0: 9}, {0: 9})
    held = shop.merged.events.scan()
    held_items = sorted((shop.merged.root / "items").glob("*.parquet"))
    for hours in (0.0, 0.0, 0.0, 0.4):
        shop.merge(hours, killed)
        assert held.collect().height == 13
        assert all(file.exists() for file in held_items)
        assert what_is_read(shop.merged) == what_is_read(shop.plain)
    shop.merge(2.0, killed)
    assert what_is_read(shop.merged) == what_is_read(shop.plain)
    for _ in range(5):
        shop.merge(2.0, None)
    assert what_is_read(shop.merged) == what_is_read(shop.plain)
    files = {
        kind: len(list((shop.merged.root / kind).rglob("*.parquet"))) for kind in ("items", "users")
    }
    # Three before the import, which are too few; it; the merged one of those after it; the last.
    assert files == {"items": 3 + 1 + 1 + 1, "users": 3 + 1 + 1 + 1}
    events = list((shop.merged.root / "events").rglob("*.parquet"))
    assert len([file for file in events if file.stem.startswith(LIVE)]) == 1
    written = [segment for segment in shop.merged.events.complete() if merged_at(segment) is None]
    assert written == ["import-1-30"]
    assert not list(shop.merged.root.rglob(".*.parquet.*"))


def test_of_a_day_that_may_still_come_and_of_the_last_changes_nothing_is_merged(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path)
    for _ in range(20):
        shop.live([0], {0: 1}, {0: 1}, 0)
    assert shop.merged.merge(FIRST_DAY + timedelta(days=2) - HOUR) is None
    merged = shop.merged.merge(FIRST_DAY + timedelta(days=2))
    assert merged is not None
    assert merged.kind == "events"
    # The files of changes are of now, not of that day.
    assert shop.merged.merge(FIRST_DAY + timedelta(days=2)) is None


def test_the_last_changes_keep_their_place_when_they_are_written_again(tmp_path: Path) -> None:
    """As after a crash between writing and committing; an import came before the repetition."""
    shop = Shop(tmp_path)
    for number in range(12):
        shop.live([], {0: number + 1}, {}, 1)
    (*_, last) = shop.merged.item_changes.segments()
    shop.imported({0: 50}, {0: 1})
    for _ in range(3):
        shop.merge(2.0, None)
    assert len(shop.merged.item_changes.segments()) == 3
    shop.merged.write_items(last, [Item(item_id="i0", price=12)])
    assert shop.merged.items() == [Item(item_id="i0", price=50)]


@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=500))
def test_what_comes_late_does_not_write_a_day_again_and_again(sizes: list[int]) -> None:
    files: list[int] = []
    written = 0
    for size in sizes:
        files = sorted([*files, size])
        if count := merging.count_to_merge(files):
            written += sum(files[:count])
            files = [*files[count:], sum(files[:count])]
    total = sum(sizes)
    assert sum(files) == total
    assert written <= total * log2(2 * total)
    assert len(files) <= 2 * merging.FEWEST_FILES + log2(total)


def test_files_that_are_large_stay_as_they_are() -> None:
    few, many = merging.FEWEST_FILES - 1, merging.FEWEST_FILES
    assert merging.count_to_merge([1] * few) == 0
    assert merging.count_to_merge([1] * many) == many
    assert merging.count_to_merge([1] * many + [many]) == many + 1
    assert merging.count_to_merge([1] * many + [many + 1]) == many
    assert merging.count_to_merge([merging.MOST_BYTES // many] * 2 * many) == many
    assert merging.count_to_merge([merging.MOST_BYTES] * many) == 0


def test_a_writer_that_was_killed_leaves_no_file_for_long(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for number in range(9):
        shop.live([number], {0: 1}, {0: 1}, 0)
    shop.merge(0.0, 0)
    (left,) = shop.merged.root.rglob(".*.parquet.*")
    shop.merged.merge(datetime.now(UTC))
    assert left.exists()
    os.utime(left, (0, 0))
    shop.merged.merge(datetime.now(UTC))
    assert not left.exists()
