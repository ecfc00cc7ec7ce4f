"""Segments of events, in one Parquet file for each UTC day that they have events of.

events/date=2026-01-02/<segment>.parquet   one row an event
segments/<segment>.json                    complete segments; of a merged one, what it replaces
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import polars as pl
from pydantic_core import to_json

from feature_repo.history import EVENT_KEY
from feature_repo.merging import KEPT, Merged, count_to_merge
from feature_repo.parquet_files import files_holding, parquet_files
from feature_repo.schema import Event, content_id
from feature_repo.segment_names import LIVE, merged_at, merged_name, require_plain
from feature_repo.whole_file import remove_unfinished, replacing

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
_CLOSED_AFTER = timedelta(days=2)
"""How long after its beginning a day is closed; what comes for it later is merged later."""
_LOGGED_SCHEMA = pl.Schema({**EVENT_SCHEMA, MOMENT: pl.Int64(), APPENDED_AT: pl.Int64()})


class EventSegments:
    """Reads and writes the segments in the folders `root/events` and `root/segments`."""

    def __init__(self, root: Path) -> None:
        self._events = root / "events"
        self._segments = root / "segments"

    def write(
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
        require_plain(segment)
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
        self._complete(segment, events=frame.height, days=len(by_day))
        return frame.height

    def scan(self, start: datetime | None = None, end: datetime | None = None) -> pl.LazyFrame:
        """Return the events of start <= timestamp < end, each once, in no particular order."""
        events = _scan(self.files(start, end)).select(EVENT_SCHEMA.names())
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

    def keys_of(self, day: date) -> pl.DataFrame:
        """Return the columns `EVENT_KEY` of one UTC day's events that are in complete segments.

        Events of other segments do not count as known: their writer will write them all again.
        """
        files = [
            file
            for file in parquet_files(self._day_folder(day))
            if (self._segments / f"{file.stem}.json").exists()
        ]
        return _scan(files).select(EVENT_KEY).collect()

    def last_moment(self) -> int:
        """Return the last moment of any event; 0 where none came from a log."""
        return _scan(self.files()).select(pl.col(MOMENT).max()).collect().item() or 0

    def complete(self) -> list[str]:
        """Return the names of the complete segments, sorted."""
        return sorted(file.stem for file in self._segments.glob("[!.]*.json"))

    def scan_segment(self, segment: str) -> pl.LazyFrame:
        """Return the events of one segment."""
        files = sorted(self._events.glob(f"date=*/{require_plain(segment)}.parquet"))
        return _scan(files).select(EVENT_SCHEMA.names())

    def has_any(self) -> bool:
        """Whether any event was ever written."""
        return any(parquet_files(day) for day in self._days())

    def erase_users(self, moments: Mapping[str, int]) -> int:
        """Remove the users' events for good; return the number of events removed.

        moments: by user id, when the log took the erasure. Events that it took later stay;
        imported events have no moment, and go. Reads one column of every file, and the rest of
        those files that hold one of the users.
        """
        user_ids = pl.Series(list(moments), dtype=pl.String())
        moment = pl.col("user_id").replace_strict(
            user_ids, list(moments.values()), default=None, return_dtype=pl.Int64()
        )
        removed = 0
        for file in files_holding(self.files(), "user_id", user_ids):
            frame = pl.read_parquet(file, hive_partitioning=False)
            later = pl.col(MOMENT) > moment if MOMENT in frame.columns else pl.lit(value=False)
            kept = frame.filter(moment.is_null() | later)
            if kept.height < frame.height:
                removed += frame.height - kept.height
                with replacing(file) as replacement:
                    kept.write_parquet(replacement)
        return removed

    def merge(self, now: datetime) -> Merged | None:
        """Merge files of one day that were written from the log; None where none is due.

        The day has been over for a day. What the files hold is read twice until `remove_merged`.
        """
        for folder in self._closed_days(now):
            live = _live(folder)
            replaced = {name for file in live for name in self._replaced_by(file.stem)}
            left = sorted((file for file in live if file.stem not in replaced), key=_size)
            inputs = left[: count_to_merge([_size(file) for file in left])]
            if not inputs:
                continue
            names = [file.stem for file in inputs]
            merged = merged_name(names, content_id(*names), now)
            replaces = [*names, *(each for name in names for each in self._replaced_by(name))]
            with replacing(folder / f"{merged}.parquet") as file:
                _scan(inputs).sink_parquet(file)
                rows = _scan([file]).select(pl.len()).collect().item()
                # First, so that what the file holds is never merged beside it.
                self._complete(merged, events=rows, days=1, replaces=replaces)
            return Merged("events", len(inputs), rows)
        return None

    def remove_merged(self, now: datetime) -> None:
        """Remove files that were merged so long ago that no reader has them in hand, of one day."""
        for folder in self._days():
            remove_unfinished(folder, "*.parquet", now - KEPT)
        for folder in self._closed_days(now):
            live = [file.stem for file in _live(folder)]
            ended = {name for name in live if (at := merged_at(name)) and at <= now - KEPT}
            replaced = {each for name in ended for each in self._replaced_by(name)}
            if not replaced:
                continue
            # A segment may have events of other days.
            for name in replaced - {file.stem for file in self.files() if file.parent != folder}:
                (self._segments / f"{name}.json").unlink(missing_ok=True)
            # Last: as long as there are any, a removal that was cut short is gone on with.
            for name in replaced:
                (folder / f"{name}.parquet").unlink(missing_ok=True)
            for name in ended - replaced:
                self._complete(name, days=1)
            return

    def files(self, start: datetime | None = None, end: datetime | None = None) -> list[Path]:
        """Return the files of the days from `start` to `end`, by day; each is named SEGMENT."""
        return [file for day in self._days(start, end) for file in parquet_files(day)]

    def _complete(self, segment: str, **facts: object) -> None:
        with replacing(self._segments / f"{segment}.json") as file:
            file.write_bytes(orjson.dumps(facts))

    def _closed_days(self, now: datetime) -> list[Path]:
        """Return the folders of closed days with several files written from the log."""
        return [day for day in self._days(end=now - _CLOSED_AFTER) if len(_live(day)) > 1]

    def _replaced_by(self, segment: str) -> list[str]:
        if merged_at(segment) is None:
            return []
        try:
            facts = orjson.loads((self._segments / f"{segment}.json").read_bytes())
        except FileNotFoundError:  # Of a copy that was taken meanwhile: nothing may be removed.
            return []
        return [str(each) for each in facts.get("replaces", [])]

    def _day_folder(self, day: date) -> Path:
        return self._events / f"date={day.isoformat()}"

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


def _size(file: Path) -> int:
    return file.stat().st_size


def _live(folder: Path) -> list[Path]:
    return [file for file in parquet_files(folder) if file.stem.startswith(LIVE)]


def _scan(files: list[Path]) -> pl.LazyFrame:
    if not files:
        return pl.LazyFrame(schema=_LOGGED_SCHEMA)
    return pl.scan_parquet(
        files,
        schema=_LOGGED_SCHEMA,
        missing_columns="insert",
        # A newer version may write more.
        extra_columns="ignore",
        hive_partitioning=False,
    )
