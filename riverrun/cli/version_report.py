"""How a published version was judged, for who decides whether it shall serve."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import out, say
from riverrun.cli.metrics_tables import print_tables

if TYPE_CHECKING:
    from serving.bundle import Manifest
    from trainer.refresh.version_report import VersionReport


def print_report(report: "VersionReport") -> None:
    """Print what the version is, how it did beside what it was compared with, and what came of it.

    What `riverrun refresh` said as it ended is said in the same words.
    """
    version, run, notes = report.version, report.run, report.notes
    out.print(f"{version.version}: {version.status}", soft_wrap=True)
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _facts(report):
        table.add_row(name, escape(value))
    out.print(table)
    if notes.choice and notes.choice.rows:
        print_tables(notes.choice.rows)
    elif version.manifest and version.manifest.metrics:
        out.print("what it was compared with is not kept", soft_wrap=True)
    if left_open := notes.left_open or (run.message if run and run.status == "published" else ""):
        say(left_open, out)
    if version.status == "broken":
        out.print(f"[bold red]broken:[/] {escape(version.note)}", soft_wrap=True)
    if run and run.status == "refused":
        out.print(f"[bold red]refused:[/] {escape(run.message)}", soft_wrap=True)


def events_of(manifest: "Manifest") -> str:
    """Return from when until when the events are that the model learned from; "" for none."""
    window = manifest.data_window
    if window.start and window.end:
        return f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d %H:%M}"
    return ""


def _facts(report: "VersionReport") -> Iterator[tuple[str, str]]:
    manifest, run, notes = report.version.manifest, report.run, report.notes
    if manifest:
        yield "items", f"{manifest.num_items:,}"
        yield "events", f"{manifest.data_window.events:,}, {events_of(manifest)}".rstrip(", ")
        yield "parent", manifest.parent or "none"
        if start := manifest.model.get("start"):
            yield "started", str(start)
    if run:
        yield "run", f"{run.run_id}, {run.status}"
    if notes.choice:
        yield "epochs", str(notes.choice.epochs)
        if notes.choice.no_ranker:
            yield "ranker", notes.choice.no_ranker
    if notes.checks:
        yield "index recall", f"{notes.checks.index_recall:.3f}"
        yield "latency", f"{notes.checks.latency_ms:.1f} ms for a query"
    if manifest and not (notes.choice and notes.choice.rows):
        yield from ((name, f"{value:.4f}") for name, value in manifest.metrics.items())
