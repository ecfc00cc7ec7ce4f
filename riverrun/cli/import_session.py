"""An import: alone in its shop, shown as it goes on, and reported."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from polars.exceptions import ComputeError
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from feature_repo.event_weights import UNNAMED_WEIGHT
from feature_repo.exclusive_lock import exclusive
from feature_repo.shop_file import ShopFileError
from riverrun.cli.console import err, next_command, out
from riverrun.errors import RunFailedError, UserError, failed_by, kind_of, tells_of_a_full_disk
from riverrun.importing.csv_reader import STRAY_QUOTE, TOO_LONG
from riverrun.importing.mapping import ImportMapping, Kind
from riverrun.importing.raw_files import WRONG_ENCODING
from riverrun.importing.report import ImportReport, RejectsFile
from riverrun.importing.run import import_files, shop_files
from riverrun.importing.sink import ArchiveSink
from riverrun.settings import Settings
from riverrun.training_material import missing_kind

if TYPE_CHECKING:
    from feature_repo.archive import Archive


NAMED_TYPES = 10
"""So many types of event without a weight are named at most."""


def import_folder(folder: Path, settings: Settings) -> None:
    """Import the files items*, users* and events* of `folder`.

    Raises `UserError` where there are none, one cannot be read, or no row could be used.
    """
    found = shop_files(folder)
    with import_session(settings, "shop") as sink:
        for kind, files in found.items():
            import_with_bar(kind, files, None, sink)


def import_with_bar(
    kind: Kind,
    files: list[Path],
    mapping: ImportMapping | None,
    sink: ArchiveSink,
) -> None:
    """Import files of one kind, and show how much of them is read."""
    size = sum(file.stat().st_size for file in files if file.is_file())
    with Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bars:
        task = bars.add_task(kind, total=size, rows=0)
        before = sink.report.read

        def progress(count: int) -> None:
            bars.update(task, advance=count, rows=sink.report.read - before)

        import_files(kind, files, mapping, sink, datetime.now(UTC), progress)


@contextmanager
def import_session(settings: Settings, what: str) -> Iterator[ArchiveSink]:
    """Open the shop's archive; afterwards write the report, show it, and say what is next.

    Raises `UserError` where no row could be used, or the archive cannot be read, `RunFailedError`
    where the cause may pass, as a full disk, and what `_archive_what_was_posted` does.
    """
    from feature_repo.archive import Archive

    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{what}"
    path = settings.home / "imports" / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rejects = RejectsFile(path.with_name(f"{name}-rejected.jsonl"))
        archive = Archive(settings.archive)
        with _only_import(settings.archive), ImportReport(rejects=rejects) as report:
            _archive_what_was_posted(settings, archive)
            try:
                yield ArchiveSink(archive, report)
            except (UserError, ShopFileError, OSError, ComputeError) as error:
                ended = _ended_by(error, settings)
                if not (report.accepted or report.skipped or report.rejected):
                    raise ended from None
                _write(path, {"failed": str(ended), **report.as_dict()})
                raise type(ended)(f"{ended} What was read before: {path}") from None
        _write(path, report.as_dict())
    except OSError as error:
        raise _ended_by(error, settings) from None
    _show(report, (datetime.now(UTC) - started).total_seconds())
    err.print(f"[dim]report:[/] {escape(str(path))}", soft_wrap=True)
    if report.rejected:
        err.print(f"[dim]rejected rows:[/] {escape(str(rejects.path))}", soft_wrap=True)
    for hint in (*_hints(report), *_weights_hint(report, settings)):
        err.print(f"[yellow]hint:[/] {escape(hint)}", soft_wrap=True)
    _require_rows(report, rejects)
    _show_what_next(settings, report)


def _ended_by(
    error: UserError | ShopFileError | OSError | ComputeError, settings: Settings
) -> UserError | RunFailedError:
    """Return what to end with where `error` was raised by rows, or by reading or writing files."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ShopFileError):
        return UserError(str(error))
    if isinstance(error, OSError):
        return kind_of(error)(f"{settings.home}: cannot be written: {error.strerror or error}.")
    # Of Polars, of lines: a full disk, or a file of the archive that is damaged.
    reason = f"{' '.join(str(error).split())}."
    if tells_of_a_full_disk(error):
        return RunFailedError(f"{settings.home}: {reason}")
    return UserError(f"{settings.archive}: cannot be read: {reason}")


def _hints(report: ImportReport) -> Iterator[str]:
    """Yield what the user can put right in the mapping."""
    yield from report.notes
    if WRONG_ENCODING in report.rejected:
        yield (
            "the file is not UTF-8; say what it is in the mapping, as "
            'encoding = "windows-1252" under [file]'
        )
    if not {STRAY_QUOTE, TOO_LONG}.isdisjoint(report.rejected):
        yield (
            "where quotation marks are part of the text, write quotes = false under [file] of the "
            "mapping"
        )


def _weights_hint(report: ImportReport, settings: Settings) -> Iterator[str]:
    """Name the types of event that count as much as any other for want of a weight."""
    training = settings.training
    named = training.event_type_weights.keys() | training.ranking.event_type_weights.keys()
    if unnamed := sorted(report.event_types - named):
        others = " and others" if len(unnamed) > NAMED_TYPES else ""
        yield (
            f"no setting weighs events of type {', '.join(unnamed[:NAMED_TYPES])}{others}: each "
            f"counts {UNNAMED_WEIGHT:g}, as a view does. training.event_type_weights and "
            "training.ranking.event_type_weights may say otherwise: 0 for what was merely shown"
        )


def _require_rows(report: ImportReport, rejects: RejectsFile) -> None:
    """Raise `UserError` where every row was rejected, or there was none."""
    if report.accepted or report.skipped:
        return
    if not report.rejected:
        raise UserError("no row could be used: there is none.")
    reason = report.rejected.most_common(1)[0][0]
    raise UserError(f"no row could be used: {reason}. See {rejects.path}.")


def _show_what_next(settings: Settings, report: ImportReport) -> None:
    """Say what to do so that the imported data is learned from."""
    from streaming.standby_archiver import is_archived

    if report.accepted and is_archived(settings.archive):
        err.print(
            "[yellow]hint:[/] `riverrun up` or `riverrun stream` is running: it takes up what was "
            "imported when it is started again",
            soft_wrap=True,
        )
    if kind := missing_kind(settings):
        next_command(f"riverrun import {kind} FILE {settings.options}", "a model needs these too")
        return
    up = f"riverrun up {settings.options}".rstrip()
    next_command(f"riverrun train {settings.options}", f"learn from it; then `{up}`")


def _archive_what_was_posted(settings: Settings, archive: "Archive") -> None:
    """Let the import be newer than every item and user that was posted before it.

    Raises `UserError` and `RunFailedError` where the log cannot be read.
    """
    from feature_repo.event_log import EventLogError
    from riverrun.opening import open_log
    from streaming.archive_changes import NotArchivedError, archive_changes

    file = settings.embedded_log
    if file is not None and not file.exists():
        return  # Nothing was posted yet; reading must not create the log.
    try:
        with closing(open_log(settings)) as log, err.status("archiving what was posted before"):
            archive_changes(log, archive, settings.streaming)
    except EventLogError as error:
        raise failed_by(error) from error
    except NotArchivedError as error:
        raise RunFailedError(f"{archive.root}: {error}. Import again.") from error


@contextmanager
def _only_import(archive: Path) -> Iterator[None]:
    """Be the one import into an archive: two would not know of each other's events."""
    archive.mkdir(parents=True, exist_ok=True)
    refusal = RunFailedError(
        f"another import fills {archive}: imports go one at a time. Wait until it is done."
    )
    with exclusive(archive / "import.lock", refusal):
        yield


def _write(path: Path, report: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _show(report: ImportReport, seconds: float) -> None:
    table = Table("rows", "what happened", box=None, pad_edge=False)
    table.columns[0].justify = "right"
    table.add_row(f"{report.read:,}", f"read in {seconds:.1f} s")
    table.add_row(f"{report.accepted:,}", "[green]accepted[/]")
    groups: list[tuple[str, Callable[[str], str]]] = [
        ("skipped", lambda reason: f"skipped: {reason}"),
        ("rejected", lambda reason: f"[red]rejected:[/] {reason}"),
        ("repaired", lambda reason: f"[yellow]repaired:[/] {reason}"),
        ("derived", lambda reason: f"[dim]made:[/] {reason}"),
    ]
    for group, label in groups:
        for reason, count in getattr(report, group).most_common():
            table.add_row(f"{count:,}", label(reason))
    out.print(table)
