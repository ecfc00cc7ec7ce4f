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
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import polars as pl

from feature_repo.archive_positions import ArchivePositions
from feature_repo.change_files import ChangeFiles
from feature_repo.erasure_marks import ErasureMarks
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
from feature_repo.schema import Item, User
from feature_repo.whole_file import flush

__all__ = ["APPENDED_AT", "EVENT_SCHEMA", "MOMENT", "Archive", "events_frame"]

_ITEMS_AT_ONCE = 1_000


class Archive:
    """Reads and writes the archive in folder `root`. Many readers, one writer of a segment.

    events, item_changes, user_changes: what its segments hold. marks: of whom the log has erased.
    positions: how far the log is archived.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.id_file = root / "id"
        self.events = EventSegments(root)
        self.item_changes = ChangeFiles(root / "items")
        self.user_changes = ChangeFiles(root / "users")
        self.positions = ArchivePositions(root / "positions")
        self.marks = ErasureMarks(root / "erasures")
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

    # Items and users.

    def write_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write changes of items: new states, and ids that were deleted."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return self.item_changes.write(segment, changes)

    def write_users(self, segment: str, users: Sequence[User]) -> int:
        """Write new states of users."""
        return self.user_changes.write(segment, _records(users))

    def import_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write the newest states of items, even if a segment of this name was written before."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return self.item_changes.write_newest(segment, changes)

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        """Write the newest states of users, as `import_items` does."""
        return self.user_changes.write_newest(segment, _records(users))

    def items(self) -> list[Item]:
        """Return the newest state of every item that is not deleted, by id."""
        return _newest(Item, self.item_changes)

    def deleted_items(self) -> list[str]:
        """Return the ids of the items that were deleted and have not come back, by id."""
        return [key for key, record in self.item_changes.newest() if record is None]

    def items_with(self, field: str, item_ids: Sequence[str]) -> int:
        """Return how many of these items have any text or entry in a field such as `title`."""
        newest = self.item_changes.newest_of_keys(pl.Series(item_ids, dtype=pl.String()))
        # What is empty, as by default, is left out of a record.
        return newest["record"].str.json_path_match(f"$.{field}").count()

    def items_of(self, segments: Collection[str]) -> Iterator[dict[str, str | None]]:
        """Yield the items whose newest state is in one of these segments, some at a time.

        Maps ids to JSON as `log_records.decode_record` reads it, or to None where it is deleted.
        """
        for changes in self.item_changes.newest_of(segments):
            for some in changes.iter_slices(_ITEMS_AT_ONCE):
                yield dict(some.iter_rows())

    def users(self) -> list[User]:
        """Return the newest state of every user, by id."""
        return _newest(User, self.user_changes)

    def users_of(self, segments: Collection[str]) -> list[User]:
        """Return the users whose newest state is in one of these segments, by id."""
        found = {
            key: each for some in self.user_changes.newest_of(segments) for key, each in some.rows()
        }
        return [decode_record(User, found[key]) for key in sorted(found)]

    # What spans them.

    def erase_users(self, moments: Mapping[str, int]) -> int:
        """Remove users and their events for good; return the number of events removed.

        moments: by user id, when the log took the erasure. Events that it took later stay;
        imported events have no moment, and go. Reads one column of every file, and the rest of
        those files that hold one of the users.
        """
        removed = self.events.erase_users(moments)
        self.user_changes.erase(moments)
        return removed

    def written_segments(self) -> set[str]:
        """Return the names of all segments that anything is left of, complete or not."""
        events = {file.stem for file in self.events.files()}
        return events.union(self.item_changes.segments(), self.user_changes.segments())

    def merge(self, now: datetime) -> Merged | None:
        """Merge small files into one, and return what was merged; None where none is due.

        It is one day's events, or one run of changes. Before that, what was merged an hour ago is
        removed, of one day too. Only who alone erases users may merge.
        """
        stores = (self.events, self.item_changes, self.user_changes)
        for store in stores:
            store.remove_merged(now)
        return next((merged for store in stores if (merged := store.merge(now))), None)

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
