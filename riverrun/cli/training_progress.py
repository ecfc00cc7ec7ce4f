"""A refresh's progress on the terminal."""

import time
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

LINE_SECONDS = 60.0


@contextmanager
def refresh_progress() -> Iterator[Listener]:
    """Show a bar for each stage.

    Where there is no terminal, a line for each, and one for every `LINE_SECONDS` that it takes.
    """
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
        said_at = time.monotonic()

        def stage(title: str) -> None:
            nonlocal current, said_at
            bars.stop_task(current)
            current = bars.add_task(title, total=None, detail="")
            if not err.is_terminal:
                err.print(f"{title} ...", soft_wrap=True)
                said_at = time.monotonic()

        def show(done: int, total: int, detail: str) -> None:
            nonlocal said_at
            bars.update(current, completed=done, total=total, detail=detail)
            if not err.is_terminal and time.monotonic() - said_at >= LINE_SECONDS:
                err.print(f"  {done:,} of {total:,}  {detail}".rstrip(), soft_wrap=True)
                said_at = time.monotonic()

        def progress(done: int, total: int) -> None:
            show(done, total, "")

        def step(training: TrainingProgress) -> None:
            done = (training.epoch - 1) * training.steps + training.step
            show(
                done,
                training.epochs * training.steps,
                f"epoch {training.epoch}/{training.epochs}  loss {training.loss:.3f}",
            )

        yield Listener(stage, progress, step)


@contextmanager
def spaced_progress() -> Iterator[Listener]:
    """Show a refresh's progress, and an empty line behind it."""
    with refresh_progress() as listener:
        yield listener
    err.print()
