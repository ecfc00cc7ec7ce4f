"""`riverrun import`: fill the archive from files."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from feature_repo.exclusive_lock import exclusive
from riverrun.cli.console import err, next_command, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.train import missing_kind
from riverrun.errors import RunFailedError, UserError, failed_by
from riverrun.importing.csv_reader import STRAY_QUOTE, TOO_LONG
from riverrun.importing.mapping import ImportMapping, Kind, load_mapping
from riverrun.importing.presets import PRESETS
from riverrun.importing.raw_files import WRONG_ENCODING
from riverrun.importing.report import ImportReport, RejectsFile
from riverrun.importing.run import import_files, import_preset, shop_files
from riverrun.importing.sink import ArchiveSink
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from feature_repo.archive import Archive

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Fill the archive with items, users and events from files.

    Files are CSV, JSONL or Parquet, each also gzipped, of any size. Columns bear the names of the
    fields (user_id, item_id, event_type, timestamp ...) or a mapping says how to read them:

    ```toml
    [events]
    user_id = "CustomerID"
    item_id = "StockCode"
    event_type = { constant = "purchase" }
    timestamp.column = "Date"
    timestamp.format = "%d.%m.%Y %H:%M"
    timestamp.timezone = "Europe/Berlin"
    value = { column = "Price", decimal = "," }
    ```

    All that a mapping can say, with examples: infra/docs/importing.md.

    What is unusable is rejected, with reason, file and line, into a file beside the report; what
    can be repaired by rule is, and counted. An import can be run again with the same mapping:
    nothing is doubled.
    """,
)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, JSONL or Parquet.")]
MappingOption = Annotated[
    Path | None,
    typer.Option("--mapping", "-m", metavar="MAP.toml", help="How columns become fields."),
]


@app.command()
def items(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import items: what people can be shown.

    Fields: **item_id**, title, description, categories (general to specific), brand, price, tags,
    attributes, available, published_at, deleted.

    **Examples**

    `riverrun import items products.jsonl.gz`

    `riverrun import items products.csv --mapping shop.toml`
    """
    _import_kind("items", files, mapping, home, settings)


@app.command()
def users(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import users: what is known of them besides events.

    Fields: **user_id**, attributes. Users of events need not be imported.

    **Example**

    `riverrun import users customers.csv --mapping shop.toml`
    """
    _import_kind("users", files, mapping, home, settings)


@app.command()
def events(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import events: who did what to which item, and when.

    Fields: **user_id**, **item_id**, **event_type**, **timestamp**, event_id, value, query,
    request_id, context. Without an event_id one is made from the content, so that the same
    event is known again. An event that is known is skipped: an import corrects none.

    **Examples**

    `riverrun import events events-*.parquet`

    `riverrun import events orders.csv --mapping shop.toml`
    """
    _import_kind("events", files, mapping, home, settings)


@app.command()
def preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(PRESETS)}.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder as published.")],
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import a well-known data set as it is published, which is read whole into memory.

    - `online-retail`  UCI Online Retail: online_retail.csv[.gz]
    - `movielens`  a folder in the layout of MovieLens 100k, 1M or latest-small
    - `sequences`  S3-Rec text files, with the attributes beside them
    - `icecat`  Chorus' products.jsonl[.gz]; items only

    **Example**

    `riverrun import preset online-retail online_retail.csv.gz`
    """
    with _session(home, settings, name) as (sink, report), err.status(f"reading {path}"):
        import_preset(name, path, sink, report)


@app.command()
def shop(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of native files.")],
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import a whole folder: its files items*, users* and events*, as `riverrun sample` writes.

    **Example**

    `riverrun sample --out shop && riverrun import shop shop`
    """
    found = shop_files(folder)
    with _session(home, settings, "shop") as (sink, report):
        for kind, files in found.items():
            _import_with_bar(kind, files, None, sink, report)


def _import_kind(
    kind: Kind, files: list[Path], mapping: Path | None, home: Path | None, settings: Path | None
) -> None:
    loaded = None if mapping is None else load_mapping(mapping)
    with _session(home, settings, kind) as (sink, report):
        _import_with_bar(kind, files, loaded, sink, report)


def _import_with_bar(
    kind: Kind,
    files: list[Path],
    mapping: ImportMapping | None,
    sink: ArchiveSink,
    report: ImportReport,
) -> None:
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
        before = report.read

        def progress(count: int) -> None:
            bars.update(task, advance=count, rows=report.read - before)

        import_files(kind, files, mapping, sink, report, datetime.now(UTC), progress)


@contextmanager
def _session(
    home: Path | None, settings: Path | None, what: str
) -> Iterator[tuple[ArchiveSink, ImportReport]]:
    """Open the archive; afterwards write the report, show it, and say what is next.

    Raises `UserError` where no row could be used, and what `_archive_what_was_posted` does.
    """
    from feature_repo.archive import Archive

    loaded = load_settings(settings, home=home)
    started = datetime.now(UTC)
    name = f"{started:%Y%m%dT%H%M%SZ}-{what}"
    path = loaded.home / "imports" / f"{name}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rejects = RejectsFile(path.with_name(f"{name}-rejected.jsonl"))
        archive = Archive(loaded.archive)
        with _only_import(loaded.archive), ImportReport(rejects=rejects) as report:
            _archive_what_was_posted(loaded, archive)
            try:
                yield ArchiveSink(archive, report), report
            except UserError as error:
                if not (report.accepted or report.skipped or report.rejected):
                    raise
                _write(path, {"failed": str(error), **report.as_dict()})
                raise UserError(f"{error} What was read before: {path}") from None
        _write(path, report.as_dict())
    except OSError as error:
        raise UserError(f"{loaded.home}: cannot be written: {error.strerror or error}.") from None
    _show(report, (datetime.now(UTC) - started).total_seconds())
    err.print(f"[dim]report:[/] {path}", soft_wrap=True)
    if report.rejected:
        err.print(f"[dim]rejected rows:[/] {rejects.path}", soft_wrap=True)
    for hint in _hints(report):
        err.print(f"[yellow]hint:[/] {escape(hint)}", soft_wrap=True)
    _require_rows(report, rejects)
    _show_what_next(loaded, report)


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
    refusal = UserError(
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
