"""Where commands write: results to standard output, everything about them to standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def next_command(command: str, purpose: str) -> None:
    """Print the command that a person most likely wants next."""
    err.print(f"[dim]next:[/] [bold]{command}[/]  [dim]{purpose}[/]")


@contextmanager
def counting(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each thing that is counted; give what is told (what, done, total)."""
    with Progress(console=err, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{doing}: {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield progress
