"""Everything that was ever accepted, as Parquet files: what training reads.

    archive/events/date=2026-01-02/<segment>.parquet   one row an event, by UTC day
    archive/items/<number>-<segment>.parquet           changes of items; the highest number wins
    archive/users/<number>-<segment>.parquet           changes of users, likewise
    archive/erasures/<partition>.json                  users erased by way of the log, and when
    archive/segments/<segment>.json                    event segments that are complete
    archive/positions/<topic>-<partition>.json         the offset up to which the log is archived
    archive/requested                                  touched by who waits for what was collected
    archive/id                                         tells the archives of two shops apart

A segment is what one writer writes at once. Writing a segment again replaces it, so a writer
that crashed simply repeats itself; an event that two segments hold is read once.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import orjson
import polars as pl
from pydantic_core import to_json

from feature_repo.change_files import (
    files_holding,
    newest_changes,
    newest_of,
    newest_of_keys,
    parquet_files,
    segment_of,
    write_changes,
    write_newest,
)
from feature_repo.event_log import TopicPartition
from feature_repo.exclusive_lock import LockHeldError, exclusive
from feature_repo.history import EVENT_KEY
from feature_repo.log_records import RecordT, decode_record, encode_record
from feature_repo.schema import Event, Item, User
from feature_repo.whole_file import flush, replacing

EVENT_SCHEMA = pl.Schema(
    {
        "event_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "event_type": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "value": pl.Float64(),
        "query": pl.String(),
        "request_id": pl.String(),
        "context": pl.String(),
    }
)
MOMENT = "moment"
"""The column of files written from the log that says when the log took each event (ADR 0013)."""
APPENDED_AT = "appended_at"
"""The same in milliseconds since 1970, as far as it is known: `LogRecord.appended_at`."""
_LOGGED_SCHEMA = pl.Schema({**EVENT_SCHEMA, MOMENT: pl.Int64(), APPENDED_AT: pl.Int64()})
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_ITEMS_AT_ONCE = 1_000


class Archive:
    """Reads and writes the archive in folder `root`. Many readers, one writer of a segment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.id_file = root / "id"
        self._events = root / "events"
        self._items = root / "items"
        self._users = root / "users"
        self._segments = root / "segments"
        self._positions = root / "positions"
        self._erasures = root / "erasures"
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
        """Write a segment and return its number of events.

        A frame has the columns of `EVENT_SCHEMA`; `context` is JSON text or null. moments: when
        the log took each event; None for events that come from no log. appended_at: the same in
        milliseconds since 1970.
        """
        _check(segment)
        frame = events if isinstance(events, pl.DataFrame) else events_frame(events)
        frame = frame.select(EVENT_SCHEMA.names()).cast(EVENT_SCHEMA)
        if moments is not None:
            frame = frame.with_columns(pl.Series(MOMENT, moments, pl.Int64()))
        if appended_at is not None:
            frame = frame.with_columns(pl.Series(APPENDED_AT, appended_at, pl.Int64()))
        by_day = frame.with_columns(_day=pl.col("timestamp").dt.date()).partition_by(
            "_day", as_dict=True, include_key=False
        )
        written = set()
        for (day,), part in by_day.items():
            written.add(self._day_folder(day) / f"{segment}.parquet")
            with replacing(self._day_folder(day) / f"{segment}.parquet") as file:
                part.write_parquet(file)
        # An earlier attempt may have had events of days that this one has none of.
        for stale in set(self._events.glob(f"date=*/{segment}.parquet")) - written:
            stale.unlink()
        with replacing(self._segments / f"{segment}.json") as file:
            file.write_bytes(orjson.dumps({"events": frame.height, "days": len(by_day)}))
        return frame.height

    def scan_events(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> pl.LazyFrame:
        """Return the events of start <= timestamp < end, each once, in no particular order."""
        events = _scan(self._event_files(start, end)).select(EVENT_SCHEMA.names())
        if start is not None:
            events = events.filter(pl.col("timestamp") >= start)
        if end is not None:
            events = events.filter(pl.col("timestamp") < end)
        return events.unique(EVENT_KEY, keep="any")

    def scan_day(self, day: date) -> pl.LazyFrame:
        """Return what was written of one UTC day, with the columns `MOMENT` and `APPENDED_AT`.

        An event that was written repeatedly comes repeatedly. Imported ones have neither.
        """
        return _scan(parquet_files(self._day_folder(day)))

    def days(self) -> list[date]:
        """Return the UTC days that have events, in order."""
        return [date.fromisoformat(day.name.removeprefix("date=")) for day in self._days()]

    def event_ids_of(self, day: date) -> pl.Series:
        """Return the ids of the events of one UTC day that are in complete segments.

        Events of other segments do not count as known: their writer will write them all again.
        """
        files = [
            file
            for file in parquet_files(self._day_folder(day))
            if (self._segments / f"{file.stem}.json").exists()
        ]
        return _scan(files).select("event_id").collect()["event_id"]

    def last_moment(self) -> int:
        """Return the last moment of any event; 0 where none came from a log."""
        return _scan(self._event_files()).select(pl.col(MOMENT).max()).collect().item() or 0

    def segments(self) -> list[str]:
        """Return the names of the complete event segments, sorted."""
        return sorted(file.stem for file in self._segments.glob("[!.]*.json"))

    def scan_segment(self, segment: str) -> pl.LazyFrame:
        """Return the events of one segment."""
        files = sorted(self._events.glob(f"date=*/{_check(segment)}.parquet"))
        return _scan(files).select(EVENT_SCHEMA.names())

    def has_events(self) -> bool:
        """Whether any event was ever written."""
        return any(parquet_files(day) for day in self._days())

    # Items and users.

    def write_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write changes of items: new states, and ids that were deleted."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return write_changes(self._items, _check(segment), changes)

    def write_users(self, segment: str, users: Sequence[User]) -> int:
        """Write new states of users."""
        return write_changes(self._users, _check(segment), _records(users))

    def import_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str] = ()) -> int:
        """Write the newest states of items, even if a segment of this name was written before."""
        changes = {**dict.fromkeys(deleted), **_records(items)}
        return write_newest(self._items, _check(segment), changes)

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        """Write the newest states of users, as `import_items` does."""
        return write_newest(self._users, _check(segment), _records(users))

    def has_items(self) -> bool:
        """Whether any change of an item was ever written."""
        return bool(parquet_files(self._items))

    def items(self) -> list[Item]:
        """Return the newest state of every item that is not deleted, by id."""
        return _newest(Item, self._items)

    def deleted_items(self) -> list[str]:
        """Return the ids of the items that were deleted and have not come back, by id."""
        return [key for key, record in newest_changes(self._items) if record is None]

    def items_with(self, field: str, item_ids: Sequence[str]) -> int:
        """Return how many of these items have any text or entry in a field such as `title`."""
        newest = newest_of_keys(self._items, pl.Series(item_ids, dtype=pl.String()))
        # What is empty, as by default, is left out of a record.
        return newest["record"].str.json_path_match(f"$.{field}").count()

    def item_segments(self) -> list[str]:
        """Return the names of the segments of items, in the order they were written."""
        return [segment_of(file) for file in parquet_files(self._items)]

    def items_of(self, segments: Collection[str]) -> Iterator[dict[str, str | None]]:
        """Yield the items whose newest state is in one of these segments, some at a time.

        Maps ids to JSON as `log_records.decode_record` reads it, or to None where it is deleted.
        """
        for changes in newest_of(self._items, segments):
            for some in changes.iter_slices(_ITEMS_AT_ONCE):
                yield dict(some.iter_rows())

    def users(self) -> list[User]:
        """Return the newest state of every user, by id."""
        return _newest(User, self._users)

    def user_segments(self) -> list[str]:
        """Return the names of the segments of users, in the order they were written."""
        return [segment_of(file) for file in parquet_files(self._users)]

    def users_of(self, segments: Collection[str]) -> list[User]:
        """Return the users whose newest state is in one of these segments, by id."""
        found = {
            key: each for some in newest_of(self._users, segments) for key, each in some.rows()
        }
        return [decode_record(User, found[key]) for key in sorted(found)]

    def erase_users(self, moments: Mapping[str, int]) -> int:
        """Remove users and their events for good; return the number of events removed.

        moments: by user id, when the log took the erasure. Events that it took later stay;
        imported events have no moment, and go. Reads one column of every file, and the rest of
        those files that hold one of the users.
        """
        user_ids = pl.Series(list(moments), dtype=pl.String())
        moment = pl.col("user_id").replace_strict(
            user_ids, list(moments.values()), default=None, return_dtype=pl.Int64()
        )
        removed = 0
        for file in files_holding(self._event_files(), "user_id", user_ids):
            frame = pl.read_parquet(file, hive_partitioning=False)
            later = pl.col(MOMENT) > moment if MOMENT in frame.columns else pl.lit(value=False)
            kept = frame.filter(moment.is_null() | later)
            if kept.height < frame.height:
                removed += frame.height - kept.height
                with replacing(file) as replacement:
                    kept.write_parquet(replacement)
        for file in files_holding(parquet_files(self._users), "key", user_ids):
            kept = pl.read_parquet(file).filter(~pl.col("key").is_in(user_ids.implode()))
            with replacing(file) as replacement:
                kept.write_parquet(replacement)
        return removed

    def write_erasures(
        self, partition: int, moments: Mapping[str, int], times: Mapping[str, int]
    ) -> None:
        """Replace the marks of erasures of a partition: by user id, when the log took the erasure.

        Events of the user up to that moment, which the log may still hold, must not be written.
        times: the same in milliseconds since 1970; it may leave users out.
        """
        with replacing(self._erasures / f"{partition:05d}.json") as file:
            file.write_bytes(orjson.dumps([partition, moments, times]))

    def erasures(self) -> dict[int, dict[str, int]]:
        """Return the marks of erasures of each partition, as they were written."""
        return {partition: moments for partition, moments, _, _ in self._marks()}

    def erased_at(self) -> dict[str, int]:
        """Return when users were erased, in milliseconds since 1970, of all whose mark is kept."""
        erased: dict[str, int] = {}
        for _, moments, times, written_at in self._marks():
            for user_id in moments:
                at = times.get(user_id, written_at)
                erased[user_id] = max(at, erased.get(user_id, at))
        return erased

    def _marks(self) -> Iterator[tuple[int, dict[str, int], dict[str, int], int]]:
        """Yield what `write_erasures` was given, and when, in milliseconds since 1970."""
        for file in self._erasures.glob("[!.]*.json"):
            # Files of before had no times.
            partition, moments, *times = orjson.loads(file.read_bytes())
            yield partition, moments, times[0] if times else {}, file.stat().st_mtime_ns // 10**6

    # Positions.

    def written_segments(self) -> set[str]:
        """Return the names of all segments that anything is left of, complete or not."""
        events = {file.stem for file in self._event_files()}
        changes = [*parquet_files(self._items), *parquet_files(self._users)]
        return events | {segment_of(file) for file in changes}

    def write_positions(self, positions: Mapping[TopicPartition, int]) -> None:
        """Remember that all records before these offsets of the log are in the archive."""
        for source, offset in positions.items():
            with replacing(self._positions / f"{source.topic}-{source.partition:05d}.json") as file:
                file.write_bytes(orjson.dumps([source.topic, source.partition, offset]))

    def positions(self) -> dict[TopicPartition, int]:
        """Return the offset of each partition before which everything is in the archive."""
        written = [orjson.loads(file.read_bytes()) for file in self._positions.glob("[!.]*.json")]
        return {TopicPartition(topic, partition): offset for topic, partition, offset in written}

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

    def _day_folder(self, day: date) -> Path:
        return self._events / f"date={day.isoformat()}"

    def _event_files(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> list[Path]:
        return [file for day in self._days(start, end) for file in parquet_files(day)]

    def _days(self, start: datetime | None = None, end: datetime | None = None) -> list[Path]:
        first = start.astimezone(UTC).date().isoformat() if start else ""
        last = end.astimezone(UTC).date().isoformat() if end else "9999-12-31"
        return [
            folder
            for folder in sorted(self._events.glob("date=*"))
            if first <= folder.name.removeprefix("date=") <= last
        ]


def events_frame(events: Sequence[Event]) -> pl.DataFrame:
    """Return the events as a frame with the columns of `EVENT_SCHEMA`."""
    rows = [
        (
            event.event_id,
            event.user_id,
            event.item_id,
            event.event_type,
            event.timestamp,
            event.value,
            event.query,
            event.request_id,
            _context(event),
        )
        for event in events
    ]
    return pl.DataFrame(rows, schema=EVENT_SCHEMA, orient="row")


def _context(event: Event) -> str | None:
    # Fields of a newer version have no column of their own: the context keeps them.
    context = {**(event.model_extra or {}), **event.context}
    # Not orjson: it refuses integers beyond 64 bits, which JSON may hold.
    return to_json(context).decode() if context else None


def _scan(files: list[Path]) -> pl.LazyFrame:
    if not files:
        return pl.LazyFrame(schema=_LOGGED_SCHEMA)
    return pl.scan_parquet(
        files, schema=_LOGGED_SCHEMA, missing_columns="insert", hive_partitioning=False
    )


def _newest(model: type[RecordT], folder: Path) -> list[RecordT]:
    changes = newest_changes(folder)
    return [decode_record(model, record) for _, record in changes if record is not None]


def _records(records: Sequence[Item] | Sequence[User]) -> dict[str, str | None]:
    return {
        record.item_id if isinstance(record, Item) else record.user_id: encode_record(
            record
        ).decode()
        for record in records
    }


def _check(segment: str) -> str:
    if not _SEGMENT.fullmatch(segment) or segment.startswith("."):
        raise ValueError(
            f"`segment` must be 1..200 letters, digits, '_', '.' and '-'. Received: {segment!r}."
        )
    return segment
