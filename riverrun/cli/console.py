"""Where commands write: results to standard output, everything about them to standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def next_command(command: str, purpose: str) -> None:
    """Print the command that a person most likely wants next.

    One that works on a shop names it, by `Settings.options`.
    """
    # A path may hold brackets; and a line that is broken could not be copied.
    err.print(f"[dim]next:[/] [bold]{escape(command)}[/]  [dim]{purpose}[/]", soft_wrap=True)


@contextmanager
def counting(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each thing that is counted; give what is told (what, done, total)."""
    # Where it cannot be drawn over, all that is left of it is an empty line.
    with Progress(console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{doing}: {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
