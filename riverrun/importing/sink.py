"""Where clean records go: the archive, each event once, in files of a useful size."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.schema import Item, User, content_id
from riverrun.importing.report import ImportReport

ROWS_PER_SEGMENT = 1_000_000
RECORDS_PER_SEGMENT = 100_000
EVENT_BYTES_PER_SEGMENT = 256 << 20
RECORD_CHARACTERS_PER_SEGMENT = 64 << 20
"""Of their texts: what is gathered must fit in memory, however long they are."""
MAX_RUNS = 8

RecordT = TypeVar("RecordT", Item, User)


class RecordArchive(Protocol):
    """What an import asks of the archive."""

    def write_events(self, segment: str, events: pl.DataFrame) -> int:
        """Write a segment of events, replacing one of the same name."""
        ...

    def import_items(self, segment: str, items: Sequence[Item]) -> int:
        """Write states of items that are so now."""
        ...

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        """Write states of users that are so now."""
        ...

    def event_ids_of(self, day: date) -> pl.Series:
        """Return the ids of the archived events of a day."""
        ...


class KnownEvents:
    """Which events the archive has, by day, as 64-bit hashes: 8 bytes for each.

    An event is looked for on the days beside its own too: a time that was read in another zone,
    and corrected, lies there.

    A hash that two ids share would lose one of them: among 100 million events the odds of one
    such pair are one in 3,700.
    """

    def __init__(self, archive: RecordArchive) -> None:
        self._archive = archive
        self._runs: dict[date, list[npt.NDArray[np.uint64]]] = {}

    def are_new(self, events: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Return for each event whether it is unseen; from then on it is seen."""
        hashes = events["event_id"].hash().to_numpy()
        days = events["timestamp"].dt.date()
        new = np.ones(events.height, dtype=bool)
        for day, rows in _rows_by_day(days):
            own = hashes[rows]
            for distance in (-1, 0, 1):
                for run in self._of(day + timedelta(days=distance)):
                    where = np.minimum(np.searchsorted(run, own), len(run) - 1)
                    new[rows] &= run[where] != own
            runs = self._of(day)
            fresh = np.sort(own[new[rows]])
            if len(fresh):
                runs.append(fresh)
            if len(runs) > MAX_RUNS:
                runs[:] = [np.sort(np.concatenate(runs))]
        return new

    def _of(self, day: date) -> list[npt.NDArray[np.uint64]]:
        if day not in self._runs:
            known = pl.Series(self._archive.event_ids_of(day), dtype=pl.String)
            self._runs[day] = [np.sort(known.hash().to_numpy())] if len(known) else []
        return self._runs[day]


def _rows_by_day(days: pl.Series) -> list[tuple[date, npt.NDArray[np.int64]]]:
    numbers = days.cast(pl.Int32).to_numpy()
    order = np.argsort(numbers, kind="stable")
    bounds = np.flatnonzero(np.diff(numbers[order])) + 1
    return [(days[int(rows[0])], rows) for rows in np.split(order, bounds) if len(rows)]


class _Gathered(Generic[RecordT]):
    """Records of one kind, by id: they become a segment once there are enough."""

    def __init__(self, write: Callable[[str, Sequence[RecordT]], int]) -> None:
        self._write: Callable[[str, Sequence[RecordT]], int] = write
        self._records: dict[str, RecordT] = {}
        self._characters = 0

    def add(self, records: Mapping[str, RecordT]) -> None:
        """Add records; a later one replaces an earlier one with the same id."""
        self._records |= records
        self._characters += sum(map(_characters, records.values()))
        wide = self._characters >= RECORD_CHARACTERS_PER_SEGMENT
        if wide or len(self._records) >= RECORDS_PER_SEGMENT:
            self.flush()

    def flush(self) -> None:
        """Write what is gathered."""
        if self._records:
            records = list(self._records.values())
            content = content_id(*(record.model_dump_json() for record in records))
            self._write(f"import-{content}", records)
            self._records.clear()
            self._characters = 0


class ArchiveSink:
    """Gathers records and writes them in segments named by their content.

    So an import that is run again, or goes on after a crash, writes what is missing and
    nothing twice.
    """

    def __init__(self, archive: RecordArchive, report: ImportReport) -> None:
        self._archive = archive
        self._report = report
        self._known = KnownEvents(archive)
        self._events: list[pl.DataFrame] = []
        self._items = _Gathered[Item](archive.import_items)
        self._users = _Gathered[User](archive.import_users)

    def add_events(self, events: pl.DataFrame) -> int:
        """Add events with the native columns; skip those that the archive has. Return the rest."""
        if events.is_empty():
            return 0
        new = self._known.are_new(events)
        count = int(new.sum())
        self._report.skip("the archive has the event", events.height - count)
        if count:
            self._events.append(events.filter(pl.Series(new)))
        rows = sum(frame.height for frame in self._events)
        size = sum(frame.estimated_size() for frame in self._events)
        if rows >= ROWS_PER_SEGMENT or size >= EVENT_BYTES_PER_SEGMENT:
            self._flush_events()
        return count

    def add_items(self, items: Sequence[Item]) -> int:
        """Add items; a later one replaces an earlier one with the same id. Return their number."""
        self._items.add({item.item_id: item for item in items})
        return len(items)

    def add_users(self, users: Sequence[User]) -> int:
        """Add users; a later one replaces an earlier one with the same id. Return their number."""
        self._users.add({user.user_id: user for user in users})
        return len(users)

    def flush(self) -> None:
        """Write what is gathered."""
        self._items.flush()
        self._users.flush()
        self._flush_events()

    def _flush_events(self) -> None:
        if self._events:
            events = pl.concat(self._events).sort("timestamp", "event_id")
            ids = content_id(*events["event_id"].to_list())
            self._archive.write_events(f"import-{ids}", events)
            self._events.clear()


def _characters(record: Item | User) -> int:
    text = len(record.title) + len(record.description) if isinstance(record, Item) else 0
    return text + sum(len(value) for value in record.attributes.values() if isinstance(value, str))
