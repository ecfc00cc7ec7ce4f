"""A refresh's progress on the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from riverrun.cli.console import err
from trainer.listener import Listener
from trainer.train import Progress as TrainingProgress


@contextmanager
def refresh_progress() -> Iterator[Listener]:
    """Show a bar for each stage; where there is no terminal, a line for each stage."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    # Where they cannot be drawn over, all of them would be left in the log at the end.
    with Progress(*columns, console=err, disable=not err.is_terminal) as bars:
        current = bars.add_task("Reading", total=None, detail="")

        def stage(title: str) -> None:
            nonlocal current
            bars.stop_task(current)
            current = bars.add_task(title, total=None, detail="")
            if not err.is_terminal:
                err.print(f"{title} ...", soft_wrap=True)

        def progress(done: int, total: int) -> None:
            bars.update(current, completed=done, total=total)

        def step(training: TrainingProgress) -> None:
            bars.update(
                current,
                completed=(training.epoch - 1) * training.steps + training.step,
                total=training.epochs * training.steps,
                detail=f"epoch {training.epoch}/{training.epochs}  loss {training.loss:.3f}",
            )

        yield Listener(stage, progress, step)


@contextmanager
def spaced_progress() -> Iterator[Listener]:
    """Show a refresh's progress, and an empty line behind it."""
    with refresh_progress() as listener:
        yield listener
    err.print()
