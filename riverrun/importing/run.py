"""One import from beginning to end: check all files, then read, clean and write batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import polars as pl

from riverrun.errors import UserError
from riverrun.importing.columns import FileColumns
from riverrun.importing.events import clean_events
from riverrun.importing.mapping import (
    EventsMapping,
    ImportMapping,
    ItemsMapping,
    Kind,
)
from riverrun.importing.presets import load_preset
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.readers import NoRowsError, file_format, read_batches
from riverrun.importing.records import clean_items, clean_users
from riverrun.importing.sink import ArchiveSink

UNPUBLISHED = (
    "no item of a file has `published_at`: none counts as new, in new arrivals, exploration or "
    "the ranker."
)

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


def no_progress(_count: int) -> None:
    """Report to nobody."""


def import_files(
    kind: Kind,
    files: Sequence[Path],
    mapping: ImportMapping | None,
    sink: ArchiveSink,
    now: datetime,
    progress: Progress = no_progress,
) -> None:
    """Read `files` as events, items or users into `sink`, whose report says what became of rows.

    Where no mapping says otherwise, the columns must have the fields' own names. A file without
    rows is noted. Raises `UserError` for a file that cannot be read, a column that is missing, or
    where no file has a row; rejected rows are only reported.
    """
    empty: list[NoRowsError] = []
    filled: list[tuple[Path, str]] = []
    for file in files:
        try:
            filled.append((file, file_format(file)))
        except NoRowsError as error:
            empty.append(error)
    mapping = ImportMapping() if mapping is None else mapping
    for file, form in filled:
        try:
            _import_file(kind, file, form, mapping, sink, now, progress)
        except NoRowsError as error:
            empty.append(error)
    report = sink.report
    if len(empty) == len(files):
        raise empty[0] if len(files) == 1 else UserError("none of the files has a row.")
    for without in empty:
        report.note(str(without))
    if report.removed:
        report.note(f"{report.removed:,} rows delete their item.")
    sink.flush()


def import_preset(name: str, path: Path, sink: ArchiveSink) -> None:
    """Read the data set `name` at `path` into `sink`."""
    data = load_preset(name, path, sink.report)
    # Loading counted every event as accepted; some may be in the archive.
    added = sink.add_events(data.events, ids_given=False)
    sink.report.accepted -= data.events.height - added
    sink.add_items(data.items)
    sink.flush()
    users = sink.of_derived()
    users.add_users(data.users)
    users.flush()


def shop_files(folder: Path) -> dict[Kind, list[Path]]:
    """Return the files of a folder by what their names begin with: items, users, events."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    kinds: tuple[Kind, ...] = ("items", "users", "events")
    found = {kind: sorted(folder.glob(f"{kind}*")) for kind in kinds}
    if not any(found.values()):
        raise UserError(f"{folder}: has no files named items*, users* or events*.")
    return {kind: files for kind, files in found.items() if files}


def _import_file(
    kind: Kind,
    file: Path,
    form: str,
    mapping: ImportMapping,
    sink: ArchiveSink,
    now: datetime,
    progress: Progress,
) -> None:
    is_sparse = form in ("jsonl", "ndjson")
    columns = FileColumns(file, kind, getattr(mapping, kind), is_sparse=is_sparse)
    position, report = 0, sink.report
    rows, published = report.read, report.published
    stay = report.accepted - report.removed
    for batch in read_batches(file, mapping.file, report):
        _import_batch(columns, batch, sink, now)
        progress(batch.position - position)
        position = batch.position
    progress(file.stat().st_size - position)
    if report.read == rows:
        raise NoRowsError(f"{file}: has no rows.")
    columns.check_whole(report)
    if (
        kind == "items"
        and report.accepted - report.removed > stay
        and report.published == published
    ):
        report.note(UNPUBLISHED)


def _import_batch(columns: FileColumns, batch: RawBatch, sink: ArchiveSink, now: datetime) -> None:
    report = sink.report
    with _as_it_is_mapped(batch.file):
        batch, mapping = columns.complete(batch)
    if isinstance(mapping, EventsMapping):
        with _as_it_is_mapped(batch.file):
            events = clean_events(batch, mapping, report, now)
        added = sink.add_events(events, ids_given=mapping.event_id is not None)
    elif isinstance(mapping, ItemsMapping):
        with _as_it_is_mapped(batch.file):
            found = clean_items(batch, mapping, report)
        items = [item for item in found.values() if item is not None]
        deleted = [item_id for item_id, item in found.items() if item is None]
        report.published += sum(item.published_at is not None for item in items)
        report.removed += len(deleted)
        added = sink.add_items(items, deleted)
    else:
        with _as_it_is_mapped(batch.file):
            users = clean_users(batch, mapping, report)
        added = sink.add_users(users)
    # Read only now: adding may write what was counted before, and take back who was erased.
    report.accepted += added


@contextmanager
def _as_it_is_mapped(file: Path) -> Iterator[None]:
    """Blame the file or its mapping for what Polars raises inside."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file}: cannot be read as it is mapped: {reason}") from error
