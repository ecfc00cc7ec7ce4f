"""The `riverrun` command. Its modules import TensorFlow only inside the commands that need it."""

import sys
import warnings
from errno import EDQUOT, ENOSPC
from typing import Annotated

import typer
from rich.markup import escape

from feature_repo.shop_file import PassingShopFileError, ShopFileError
from riverrun import __version__
from riverrun.cli import (
    bench,
    dead_letters,
    demo,
    drift,
    evaluate,
    import_,
    models,
    rebuild,
    refresh,
    replay,
    sample,
    scheduler,
    serve,
    settings,
    stream,
    topics,
    train,
    tune,
    up,
)
from riverrun.cli.console import err
from riverrun.errors import NOT_TO_BE_USED, RunFailedError, UserError
from riverrun.logging import configure_logging

OF_THE_PLACE = {*NOT_TO_BE_USED, ENOSPC, EDQUOT}
"""Failures of files that are the place's, not the program's: others may be a bug of Riverrun."""

app = typer.Typer(
    name="riverrun",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help=(
        "Recommendation that learns from the event stream while people click.\n\n"
        "New here? `riverrun demo` makes a sample shop, trains on it and shows a list change "
        "after three clicks. With data of your own: `riverrun import`, `riverrun train`, "
        "`riverrun up`."
    ),
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"riverrun {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[  # typer calls _version for it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a command."""


app.command()(demo.demo)
app.command()(sample.sample)
app.add_typer(import_.app, name="import")
app.command()(train.train)
app.command()(refresh.refresh)
app.command()(tune.tune)
app.command()(scheduler.scheduler)
app.command()(drift.drift)
app.add_typer(models.app, name="models")
app.command()(evaluate.evaluate)
app.command()(replay.replay)
app.command()(settings.settings)
app.command()(up.up)
app.command()(serve.serve)
app.command()(stream.stream)
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(rebuild.rebuild)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line.

    What a person can put right is one line and exit code 2; what may pass, one and code 1.
    """
    # Libraries warn about themselves; what concerns the person is said by the commands. Not by a
    # filter: some set their own for everybody when they are imported.
    warnings.showwarning = lambda *_, **__: None
    configure_logging()
    try:
        app()
    except (RunFailedError, PassingShopFileError) as error:
        _end(str(error), 1)
    except (UserError, ShopFileError) as error:
        _end(str(error), 2)
    except OSError as error:
        if error.errno not in OF_THE_PLACE or error.filename is None:
            raise
        _end(f"{error.filename}: {error.strerror}.", 2)


def _end(reason: str, code: int) -> None:
    # The reason quotes what a person has typed, brackets included. A line that is broken where the
    # terminal ends could neither be searched for nor copied.
    err.print(f"[bold red]riverrun:[/] {escape(reason)}", soft_wrap=True)
    sys.exit(code)
