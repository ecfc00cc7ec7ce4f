"""Everything that was ever accepted, as Parquet files: what training reads.

    archive/events/date=2026-01-02/<segment>.parquet   one row an event, by UTC day
    archive/items/<number>-<segment>.parquet           changes of items; the highest number wins
    archive/users/<number>-<segment>.parquet           changes of users, likewise
    archive/erasures/<partition>.json                  users erased by way of the log, and when
    archive/erasures/<partition>.times                 the same by the clock
    archive/segments/<segment>.json                    event segments that are complete
    archive/positions/<topic>-<partition>.json         the offset up to which the log is archived
    archive/requested                                  touched by who waits for what was collected
    archive/id                                         tells the archives of two shops apart

A segment is what one writer writes at once. Writing a segment again replaces it, so a writer
that crashed simply repeats itself; an event that two segments hold is read once.

What was written from the log in many small files is merged: events of a day that has been over for
a day, and changes between which nothing was imported, the newest of each key. Imported segments
stay as they are: their names say what was taken up. A merged file is there as a whole before
anything is removed, and what it was made of stays beside it for an hour, for readers who have a
list of files in hand: until then an event is found in two files, and so is a change, in the merged
one with the last number. A crash at any point leaves no less.

Merging or erasing rewrites what the other reads, so one archiver alone does both, in turn
(`streaming/standby_archiver.py`): one that merged what it had read before an erasure would bring
the erased back.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from uuid import uuid4

import polars as pl

from feature_repo.archive_positions import ArchivePositions
from feature_repo.change_files import ChangeFiles
from feature_repo.erasure_marks import ErasureMarks
from feature_repo.event_log import TopicPartition
from feature_repo.event_segments import (
    APPENDED_AT,
    EVENT_SCHEMA,
    MOMENT,
    EventSegments,
    events_frame,
)
from feature_repo.exclusive_lock import LockHeldError, exclusive
from feature_repo.log_records import RecordT, decode_record, encode_record
from feature_repo.merging import Merged
from feature_repo.schema import Event, Item, User
from feature_repo.whole_file import flush

__all__ = ["APPENDED_AT", "EVENT_SCHEMA", "MOMENT", "Archive", "events_frame"]

_ITEMS_AT_ONCE = 1_000


class Archive:
    """Reads and writes the archive in folder `root`. Many readers, one writer of a segment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.id_file = root / "id"
        self._events = EventSegments(root)
        self._items = ChangeFiles(root / "items")
        self._users = ChangeFiles(root / "users")
        self._positions = ArchivePositions(root / "positions")
        self._marks = ErasureMarks(root / "erasures")
        self._requested = root / "requested"

    def identity(self) -> str:
        """Return the archive's random id, which it is given by the first who asks.

        A copy of the archive has it too.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        while True:
            with suppress(FileNotFoundError):
                if known := self.id_file.read_text().strip():
                    return known
            with suppress(LockHeldError), exclusive(self.id_file):
                if not self.id_file.read_text():
                    self.id_file.write_text(uuid4().hex)
                    flush(self.id_file)
                    flush(self.root)

    # Events.

    def write_events(
        self,
        segment: str,
        events: Sequence[Event] | pl.DataFrame,
        moments: Sequence[int] | None = None,
        appended_at: Sequence[int | None] | None = None,
    ) -> int:
        """Write a segment and return its number of events; as `EventSegments.write` says."""
        return self._events.write(segment, events, moments, appended_at)

    def scan_events(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> pl.LazyFrame:
        """Return the events of start <= timestamp < end, each once, in no particular order."""
        return self._events.scan(start, end)

    def scan_day(self, day: date) -> pl.LazyFrame:
        """Return what was written of one UTC day, with the columns `MOMENT` and `APPENDED_AT`.

        An event that was written repeatedly comes repeatedly. Imported ones have neither.
        """
        return self._events.scan_day(day)

    def days(self) -> list[date]:
        """Return the UTC days that have events, in order."""
        return self._events.days()

    def event_keys_of(self, day: date) -> pl.DataFrame:
        """Return the columns `EVENT_KEY` of one UTC day's events that are in complete segments.

        Events of other segments do not count as known: their writer will write them all again.
        """
        return self._events.keys_of(day)

    def last_moment(self) -> int:
        """Return the last moment of any event; 0 where none came from a log."""
        return self._events.last_moment()

    def segments(self) -> list[str]:
        """Return the names of the complete event segments, sorted."""
        return self._events.complete()

    def scan_segment(self, segment: str) -> pl.LazyFrame:
        """Return the events of one segment."""
        return self._events.scan_segment(segment)

    def has_events(self) -> bool:
        """Whether any event was ever written."""
        return self._events.has_any()

    # Items and users.

    def write_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write changes of items: new states, and ids that were deleted."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return self._items.write(segment, changes)

    def write_users(self, segment: str, users: Sequence[User]) -> int:
        """Write new states of users."""
        return self._users.write(segment, _records(users))

    def import_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write the newest states of items, even if a segment of this name was written before."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return self._items.write_newest(segment, changes)

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        """Write the newest states of users, as `import_items` does."""
        return self._users.write_newest(segment, _records(users))

    def has_items(self) -> bool:
        """Whether any change of an item was ever written."""
        return self._items.has_any()

    def items(self) -> list[Item]:
        """Return the newest state of every item that is not deleted, by id."""
        return _newest(Item, self._items)

    def item_ids(self) -> list[str]:
        """Return the ids of `items`, in order, without reading the items into memory."""
        return self._items.keys()

    def deleted_items(self) -> list[str]:
        """Return the ids of the items that were deleted and have not come back, by id."""
        return [key for key, record in self._items.newest() if record is None]

    def items_with(self, field: str, item_ids: Sequence[str]) -> int:
        """Return how many of these items have any text or entry in a field such as `title`."""
        newest = self._items.newest_of_keys(pl.Series(item_ids, dtype=pl.String()))
        # What is empty, as by default, is left out of a record.
        return newest["record"].str.json_path_match(f"$.{field}").count()

    def item_segments(self) -> list[str]:
        """Return the names of the segments of items, in the order they were written."""
        return self._items.segments()

    def items_of(self, segments: Collection[str]) -> Iterator[dict[str, str | None]]:
        """Yield the items whose newest state is in one of these segments, some at a time.

        Maps ids to JSON as `log_records.decode_record` reads it, or to None where it is deleted.
        """
        for changes in self._items.newest_of(segments):
            for some in changes.iter_slices(_ITEMS_AT_ONCE):
                yield dict(some.iter_rows())

    def users(self) -> list[User]:
        """Return the newest state of every user, by id."""
        return _newest(User, self._users)

    def user_segments(self) -> list[str]:
        """Return the names of the segments of users, in the order they were written."""
        return self._users.segments()

    def users_of(self, segments: Collection[str]) -> list[User]:
        """Return the users whose newest state is in one of these segments, by id."""
        found = {key: each for some in self._users.newest_of(segments) for key, each in some.rows()}
        return [decode_record(User, found[key]) for key in sorted(found)]

    # What spans them.

    def erase_users(self, moments: Mapping[str, int]) -> int:
        """Remove users and their events for good; return the number of events removed.

        moments: by user id, when the log took the erasure. Events that it took later stay;
        imported events have no moment, and go. Reads one column of every file, and the rest of
        those files that hold one of the users.
        """
        removed = self._events.erase_users(moments)
        self._users.erase(moments)
        return removed

    def written_segments(self) -> set[str]:
        """Return the names of all segments that anything is left of, complete or not."""
        events = {file.stem for file in self._events.files()}
        return events.union(self._items.segments(), self._users.segments())

    def merge(self, now: datetime) -> Merged | None:
        """Merge small files into one, and return what was merged; None where none is due.

        It is one day's events, or one run of changes. Before that, what was merged an hour ago is
        removed, of one day too. Only who alone erases users may merge.
        """
        stores = (self._events, self._items, self._users)
        for store in stores:
            store.remove_merged(now)
        return next((merged for store in stores if (merged := store.merge(now))), None)

    # How far the log is archived, and whom it erased.

    def write_erasures(
        self, partition: int, moments: Mapping[str, int], times: Mapping[str, int]
    ) -> None:
        """Replace the marks of erasures of a partition: by user id, when the log took the erasure.

        Events of the user up to that moment, which the log may still hold, must not be written.
        times: the same in milliseconds since 1970; it may leave users out.
        """
        self._marks.write(partition, moments, times)

    def erasures(self) -> dict[int, dict[str, int]]:
        """Return the marks of erasures of each partition, as they were written."""
        return self._marks.moments()

    def erased_at(self) -> dict[str, int]:
        """Return when users were erased, in milliseconds since 1970, of all whose mark is kept."""
        return self._marks.erased_at()

    def write_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Remember that all records before these offsets of the log are in the archive."""
        self._positions.write(positions)

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset of each partition before which everything is in the archive."""
        return self._positions.read()

    # Who waits.

    def request_writing(self) -> None:
        """Ask the archiver to write now what it has collected."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._requested.touch()

    def last_request(self) -> int:
        """Return when that was last asked, in nanoseconds since 1970; 0 where it never was."""
        try:
            return self._requested.stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def _newest(model: type[RecordT], changes: ChangeFiles) -> list[RecordT]:
    newest = changes.newest()
    return [decode_record(model, record) for _, record in newest if record is not None]


def _records(records: Sequence[Item] | Sequence[User]) -> dict[str, str | None]:
    return {
        record.item_id if isinstance(record, Item) else record.user_id: encode_record(
            record
        ).decode()
        for record in records
    }
