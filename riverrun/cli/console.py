"""Where commands write: results to standard output, everything about them to standard error."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

PIPED_WIDTH = 200
"""Columns of what is piped or written to a file, where `COLUMNS` does not say another number.

rich would take 80, and cut names that a script or `grep` looks for.
"""

_is_piped = not (sys.stdout and sys.stdout.isatty()) and "COLUMNS" not in os.environ
# What is printed may hold `:car:` as it is: rich would print a picture of one.
out = Console(highlight=False, emoji=False, width=PIPED_WIDTH if _is_piped else None)
err = Console(stderr=True, highlight=False, emoji=False)


def open_streams() -> None:
    """Call before files are opened: standard streams that are closed become such that do nothing.

    Else the next files would take their numbers, and get what libraries write to standard error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    # A character that a terminal does not have is no reason to end, as it is on standard error.
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(line: str, console: Console = err) -> None:
    """Print a line as it is: with the brackets that a path may hold, and not broken.

    A broken line could not be copied.
    """
    console.print(line, markup=False, soft_wrap=True)


def next_command(command: str, purpose: str) -> None:
    """Print the command that the user most likely wants next.

    A command that works on a shop names the shop, by `Settings.options`.
    """
    # Escaped, as a path may hold brackets. Not wrapped, as a broken line could not be copied.
    err.print(f"[dim]next:[/] [bold]{escape(command)}[/]  [dim]{purpose}[/]", soft_wrap=True)


@contextmanager
def counting(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each thing that is counted; give what is to be called (what, done, total)."""
    # Off a terminal a bar cannot be drawn over, and would leave only an empty line.
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{doing}: {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
