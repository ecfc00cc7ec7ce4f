"""One import from beginning to end: check all files, then read, clean and write batch by batch."""

from collections.abc import Callable, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

from riverrun.errors import UserError
from riverrun.importing.events import clean_events
from riverrun.importing.mapping import (
    EventsMapping,
    FileFormat,
    ImportMapping,
    ItemsMapping,
    Kind,
    RecordMapping,
    native_mapping,
    source_columns,
)
from riverrun.importing.presets import load_preset
from riverrun.importing.raw_files import RawBatch
from riverrun.importing.readers import file_format, read_batches
from riverrun.importing.records import clean_items, clean_users
from riverrun.importing.report import LINE, ImportReport
from riverrun.importing.sink import ArchiveSink

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


def no_progress(_count: int) -> None:
    """Report to nobody."""


def import_files(
    kind: Kind,
    files: Sequence[Path],
    mapping: ImportMapping | None,
    sink: ArchiveSink,
    report: ImportReport,
    now: datetime,
    progress: Progress = no_progress,
) -> None:
    """Read `files` as events, items or users into `sink`.

    Without a mapping the columns must bear the fields' own names. Raises `UserError` for a file
    that cannot be read or a column that is not there; rows are reported, not raised.
    """
    for file in files:
        file_format(file)
    record = None if mapping is None else getattr(mapping, kind)
    if mapping is not None and record is None:
        raise UserError(f"the mapping has no table [{kind}].")
    for file in files:
        position = 0
        rows = report.read
        settings = FileFormat() if mapping is None else mapping.file
        for batch in read_batches(file, settings, report):
            _import_batch(kind, batch, record, sink, report, now)
            progress(batch.position - position)
            position = batch.position
        if report.read == rows:
            raise UserError(f"{file}: has no rows.")
        progress(file.stat().st_size - position)
    sink.flush()


def import_preset(name: str, path: Path, sink: ArchiveSink, report: ImportReport) -> None:
    """Read the data set `name` at `path` into `sink`."""
    data = load_preset(name, path, report)
    # Loading counted every event as accepted; some may be in the archive.
    report.accepted -= data.events.height - sink.add_events(data.events)
    sink.add_items(data.items)
    sink.add_users(data.users)
    sink.flush()


def shop_files(folder: Path) -> dict[Kind, list[Path]]:
    """Return the files of a folder by what their names begin with: items, users, events."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    kinds: tuple[Kind, ...] = ("items", "users", "events")
    found = {kind: sorted(folder.glob(f"{kind}*")) for kind in kinds}
    if not any(found.values()):
        raise UserError(f"{folder}: has no files named items*, users* or events*.")
    return {kind: files for kind, files in found.items() if files}


def _import_batch(
    kind: Kind,
    batch: RawBatch,
    mapping: RecordMapping | None,
    sink: ArchiveSink,
    report: ImportReport,
    now: datetime,
) -> None:
    columns = [name for name in batch.frame.columns if name != LINE]
    if mapping is None:
        try:
            mapping = native_mapping(kind, columns)
        except ValueError as error:
            raise UserError(f"{batch.file}: {error}.") from None
    else:
        _check_columns(batch, mapping, columns)
    if isinstance(mapping, EventsMapping):
        report.accepted += sink.add_events(clean_events(batch, mapping, report, now))
    elif isinstance(mapping, ItemsMapping):
        report.accepted += sink.add_items(clean_items(batch, mapping, report))
    else:
        report.accepted += sink.add_users(clean_users(batch, mapping, report))


def _check_columns(batch: RawBatch, mapping: RecordMapping, columns: list[str]) -> None:
    for name in source_columns(mapping):
        if name not in columns:
            close = get_close_matches(name, columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"{batch.file}: no column {name!r}, which the mapping names.{hint} "
                f"Columns of the file: {', '.join(columns)}."
            )
