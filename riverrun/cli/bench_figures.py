"""How `riverrun bench` shows what it measures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from riverrun.bench.machine import describe_machine
from riverrun.cli.console import err, out

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C has ended."""

Measuring = Callable[[str], None]
AddRow = Callable[..., None]


def say(title: str) -> None:
    """Say what is being done."""
    err.print(f"{title} ...")


def print_figures(table: Table, items: int) -> None:
    """Print a table, and where its figures were measured."""
    out.print(table)
    out.print(where_measured(items))


def where_measured(items: int) -> str:
    """Return what figures mean nothing without: the catalogue's size and the machine."""
    return f"{items:,} items; {describe_machine()}; load and server on the same machine"


@contextmanager
def rows_as_measured(
    columns: Mapping[str, int], total: int, items: int
) -> Iterator[tuple[Measuring, AddRow]]:
    """Give two functions: one to say what is measured next, one to print its row at once.

    columns: widths by title. Ctrl-C ends the table where it is, with status `INTERRUPTED`.
    """
    # A bar is drawn only where it and the rows are on the same terminal.
    bar = Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not (err.is_terminal and out.is_terminal),
    )
    task = bar.add_task("", total=total)
    done = 0

    def measuring(what: str) -> None:
        bar.update(task, description=what)
        if bar.disable:
            err.print(f"{done + 1} of {total}: {what} ...")

    def add_row(*cells: str) -> None:
        nonlocal done
        out.print(_line(columns, cells))
        done += 1
        bar.advance(task)

    with bar:
        out.print(_line(columns, [f"[bold]{title}[/]" for title in columns]))
        try:
            yield measuring, add_row
        except KeyboardInterrupt:
            err.print(f"interrupted: {done} of {total} rows were measured")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            out.print(where_measured(items))


def _line(columns: Mapping[str, int], cells: Sequence[str]) -> Table:
    line = Table.grid(padding=(0, 2))
    for number, width in enumerate(columns.values()):
        line.add_column(width=width, justify="right" if number else "left")
    line.add_row(*cells)
    return line
