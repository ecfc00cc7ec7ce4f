"""Where clean records go: the archive, each event once, in files of a useful size."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.history import EVENT_KEY
from feature_repo.schema import Item, User, content_id
from riverrun.importing.report import SAME_AGAIN, ImportReport

ROWS_PER_SEGMENT = 1_000_000
RECORDS_PER_SEGMENT = 100_000
EVENT_BYTES_PER_SEGMENT = 256 << 20
RECORD_BYTES_PER_SEGMENT = 128 << 20
"""Gathered records must fit in memory, however large an item or a user is."""
VALUE_BYTES = 64
"""About how many bytes Python takes for a value, besides its characters."""
ERASED = "the user was erased"
WORTH_KEEPING = {"title": "a title", "categories": "categories"}
"""Fields without which an item is found less well, and what a note calls them."""

RecordT = TypeVar("RecordT", Item, User)


class ArchivedEvents(Protocol):
    """The events that the archive has, and where an import writes more."""

    def days(self) -> Sequence[date]:
        """Return the days that have archived events."""
        ...

    def keys_of(self, day: date) -> pl.DataFrame:
        """Return the archived events of a day, with the columns `EVENT_KEY`."""
        ...

    def write(self, segment: str, events: pl.DataFrame) -> int:
        """Write a segment of events, replacing one of the same name."""
        ...


class Erasures(Protocol):
    """Who was erased from the archive."""

    def erased_at(self) -> Mapping[str, int]:
        """Return when users were erased, in milliseconds since 1970."""
        ...


class RecordArchive(Protocol):
    """An archive that an import adds to."""

    @property
    def events(self) -> ArchivedEvents:
        """Its events."""
        ...

    @property
    def marks(self) -> Erasures:
        """The marks of its erasures."""
        ...

    def import_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str]) -> int:
        """Write items and ids of deleted ones, which replace the items' states from now on."""
        ...

    def items_with(self, field: str, item_ids: Sequence[str]) -> int:
        """Return how many of these items have any text or entry in a field such as `title`."""
        ...

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        """Write users, each of which replaces the user's state from now on."""
        ...


class KnownEvents:
    """Which events the archive has, as 64-bit hashes of `EVENT_KEY`: 8 bytes for each.

    An id that was made from an event's content, including its time, is looked for only among the
    ids of its day. An id that the file gives is looked for everywhere: its event's time may have
    been corrected.

    If two keys had the same hash, one of their events would be lost: among 100 million events the
    odds of one such pair are one in 3,700.
    """

    def __init__(self, archived: ArchivedEvents) -> None:
        self._archived = archived
        self._everywhere: _Hashes | None = None
        self._by_day: dict[date, _Hashes] = {}

    def are_new(self, events: pl.DataFrame, *, ids_given: bool) -> npt.NDArray[np.bool_]:
        """Return for each event whether it is new, and count it as seen from now on."""
        hashes = events.select(EVENT_KEY).hash_rows().to_numpy()
        if ids_given:
            if self._everywhere is None:
                self._everywhere = self._read(self._archived.days())
            new = ~self._everywhere.have(hashes)
            self._everywhere.add(hashes[new])
            return new
        new = np.ones(events.height, dtype=bool)
        for day, rows in _rows_by_day(events["timestamp"].dt.date()):
            known, own = self._of(day), hashes[rows]
            new[rows] = ~known.have(own)
            known.add(own[new[rows]])
        return new

    def _of(self, day: date) -> "_Hashes":
        if day not in self._by_day:
            self._by_day[day] = self._read([day])
        return self._by_day[day]

    def _read(self, days: Sequence[date]) -> "_Hashes":
        hashes = _Hashes()
        for day in days:
            known = self._archived.keys_of(day).select(EVENT_KEY)
            hashes.add(known.hash_rows().to_numpy())
        return hashes


class _Hashes:
    """A growing set, in sorted runs each of which is at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def have(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return for each hash whether it is in the set."""
        found = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            found |= run[np.minimum(np.searchsorted(run, hashes), len(run) - 1)] == hashes
        return found

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Put hashes into the set."""
        if not len(hashes):
            return
        runs = self._runs
        runs.append(np.sort(hashes))
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            # A stable sort takes linear time for runs that are sorted already.
            runs.append(np.sort(np.concatenate([runs.pop(), runs.pop()]), kind="stable"))


def _rows_by_day(days: pl.Series) -> list[tuple[date, npt.NDArray[np.int64]]]:
    numbers = days.cast(pl.Int32).to_numpy()
    order = np.argsort(numbers, kind="stable")
    bounds = np.flatnonzero(np.diff(numbers[order])) + 1
    return [(days[int(rows[0])], rows) for rows in np.split(order, bounds) if len(rows)]


class _Gathered(Generic[RecordT]):
    """Records of one kind, by id; they are written as a segment once there are enough.

    It remembers every id that was added, in 8 bytes.
    """

    def __init__(self, write: Callable[[str, list[RecordT], list[str]], object]) -> None:
        self._write: Callable[[str, list[RecordT], list[str]], object] = write
        self._records: dict[str, RecordT | None] = {}
        self._bytes = 0
        self._seen = _Hashes()

    def add(self, records: Mapping[str, RecordT | None]) -> int:
        """Add records; a later one replaces an earlier one with the same id. None is a deletion.

        Return how many have an id that was not there before.
        """
        hashes = pl.Series(list(records), dtype=pl.String).hash().to_numpy()
        new = hashes[~self._seen.have(hashes)]
        self._seen.add(new)
        self._records |= records
        self._bytes += sum(map(_size, records.values()))
        if self._bytes >= RECORD_BYTES_PER_SEGMENT or len(self._records) >= RECORDS_PER_SEGMENT:
            self.flush()
        return len(new)

    def flush(self) -> None:
        """Write what is gathered."""
        if self._records:
            content = content_id(
                *(
                    key if each is None else each.model_dump_json()
                    for key, each in self._records.items()
                )
            )
            records = [each for each in self._records.values() if each is not None]
            deleted = [key for key, each in self._records.items() if each is None]
            self._write(f"import-{content}", records, deleted)
            self._records.clear()
            self._bytes = 0


class ArchiveSink:
    """Gathers records and writes them in segments named by their content.

    So an import that is run again, also after a crash, adds what is missing and nothing twice.

    report: counts what becomes of the rows of the import, here and on their way here.
    """

    def __init__(self, archive: RecordArchive, report: ImportReport) -> None:
        self.report = report
        self._archive = archive
        self._known = KnownEvents(archive.events)
        self._events: list[pl.DataFrame] = []
        self._items = _Gathered[Item](self._write_items)
        self._users = _Gathered[User](self._write_users)
        self._lost: Counter[str] = Counter()
        self._erased = archive.marks.erased_at()

    def of_derived(self) -> "ArchiveSink":
        """Return a sink into the same archive of records made from rows, which alone count."""
        return ArchiveSink(self._archive, ImportReport())

    def add_events(self, events: pl.DataFrame, *, ids_given: bool) -> int:
        """Add events with the native columns; return how many.

        Those that the archive has, and those of a user who was erased after them, are skipped.
        ids_given: whether ids are those of the file, and not made from the events' content.
        """
        events = self._without_erased(events)
        if events.is_empty():
            return 0
        self.report.event_types.update(events["event_type"].unique())
        new = self._known.are_new(events, ids_given=ids_given)
        count = int(new.sum())
        self.report.skip("the archive has the event", events.height - count)
        if count:
            self._events.append(events.filter(pl.Series(new)))
        rows = sum(frame.height for frame in self._events)
        size = sum(frame.estimated_size() for frame in self._events)
        if rows >= ROWS_PER_SEGMENT or size >= EVENT_BYTES_PER_SEGMENT:
            self._flush_events()
        return count

    def add_items(self, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Add items, and ids of items to delete; each replaces an earlier item with the same id.

        Return how many have a new id; the others are reported as skipped.
        """
        new = self._items.add({**dict.fromkeys(deleted), **{item.item_id: item for item in items}})
        self.report.skip(SAME_AGAIN.format("item_id"), len(items) + len(deleted) - new)
        return new

    def add_users(self, users: Sequence[User]) -> int:
        """Add users, as `add_items` does items. Those who were erased are skipped."""
        known = self._known_users(users)
        new = self._users.add({user.user_id: user for user in known})
        self.report.skip(SAME_AGAIN.format("user_id"), len(known) - new)
        return new

    def flush(self) -> None:
        """Write what is gathered."""
        self._items.flush()
        self._users.flush()
        self._flush_events()
        for field, count in self._lost.items():
            self.report.note(
                f"{count:,} of the items had {field} before and have none now: an import replaces "
                "items whole."
            )
        self._lost.clear()

    def _note_erasures(self) -> None:
        """Learn who was erased since rows were gathered, which may be long ago.

        A mark goes when the log holds nothing from before it; the files that are read still do.
        """
        self._erased = {**self._erased, **self._archive.marks.erased_at()}

    def _without_erased(self, events: pl.DataFrame) -> pl.DataFrame:
        if not self._erased:
            return events
        erased_at = pl.col("user_id").replace_strict(
            pl.Series([*self._erased], dtype=pl.String()),
            pl.Series([*self._erased.values()], dtype=pl.Int64()),
            default=None,
        )
        later = pl.col("timestamp").dt.epoch("ms") > erased_at
        kept = events.filter(erased_at.is_null() | later)
        self.report.skip(ERASED, events.height - kept.height)
        return kept

    def _write_items(self, segment: str, items: list[Item], deleted: list[str]) -> None:
        for field, name in WORTH_KEEPING.items():
            without = [item.item_id for item in items if not getattr(item, field)]
            if without and (count := self._archive.items_with(field, without)):
                self._lost[name] += count
        self._archive.import_items(segment, items, deleted)

    def _known_users(self, users: Sequence[User]) -> list[User]:
        known = [user for user in users if user.user_id not in self._erased]
        self.report.skip(ERASED, len(users) - len(known))
        return known

    def _write_users(self, segment: str, users: list[User], _deleted: list[str]) -> None:
        self._note_erasures()
        known = self._known_users(users)
        self.report.accepted -= len(users) - len(known)
        if known:
            self._archive.import_users(segment, known)

    def _flush_events(self) -> None:
        if not self._events:
            return
        gathered = pl.concat(self._events)
        self._events.clear()
        self._note_erasures()
        events = self._without_erased(gathered)
        self.report.accepted -= gathered.height - events.height
        if events.is_empty():
            return
        events = events.sort("timestamp", *EVENT_KEY)
        content = content_id(*chain.from_iterable(events.select(EVENT_KEY).iter_rows()))
        self._archive.events.write(f"import-{content}", events)


def _size(record: Item | User | None) -> int:
    """Return about how many bytes a record takes."""
    if record is None:
        return VALUE_BYTES
    values = [*record.attributes, *record.attributes.values()]
    if isinstance(record, Item):
        values += record.title, record.description, record.brand, *record.categories, *record.tags
    characters = sum(len(value) for value in values if isinstance(value, str))
    return VALUE_BYTES * len(values) + characters
