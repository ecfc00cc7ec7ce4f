"""The `riverrun` command. Its modules import TensorFlow only inside the commands that need it."""

import sys
import warnings
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.markup import escape

from feature_repo.full_disk import FULL
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
from riverrun.cli.console import err, open_streams
from riverrun.errors import NOT_TO_BE_USED, RunFailedError, UserError
from riverrun.interpreter import collect_seldom
from riverrun.logging import configure_logging

OF_THE_PLACE = NOT_TO_BE_USED | FULL
"""Errors of files whose cause is the place, such as a full disk; any other may be a bug."""

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

    An error that the user can put right is one line and exit code 2; one that may pass by itself is
    one line and exit code 1. An incomplete command is answered with its help, and exit code 2.
    """
    open_streams()
    # Libraries warn about their own matters; commands say what concerns the user. A filter would
    # not do: some libraries set filters of their own when they are imported.
    warnings.showwarning = lambda *_, **__: None
    configure_logging()
    collect_seldom()
    try:
        # standalone_mode=False, or Typer itself would report errors of a command line, in a box.
        sys.exit(app(prog_name="riverrun", standalone_mode=False) or 0)
    except typer.TyperException as error:
        _end(_of_command_line(error), error.exit_code)
    except typer.Abort:
        _end("aborted.", 1)
    except (RunFailedError, PassingShopFileError) as error:
        _end(str(error), 1)
    except (UserError, ShopFileError) as error:
        _end(str(error), 2)
    except OSError as error:
        if error.errno not in OF_THE_PLACE or error.filename is None:
            raise
        _end(f"{error.filename}: {error.strerror}.", 1 if error.errno in FULL else 2)


def _of_command_line(error: typer.TyperException) -> str:
    """Return what is wrong with a command line; "" where its help was shown instead."""
    # The message may have line breaks: before choices, and in what Pydantic says.
    reason = " ".join(error.format_message().split()).rstrip(".")
    if not reason:
        return ""
    if isinstance(error.__cause__, ValidationError):
        reason = reason.replace(": Value error, ", ": ")
        reason += f". Received: {error.__cause__.errors()[0]['input']!r}"
    context = getattr(error, "ctx", None)
    command = "riverrun" if context is None else context.command_path
    return f"{reason}. See {command} --help"


def _end(reason: str, code: int) -> NoReturn:
    if reason:
        # Escaped, as the reason quotes what the user typed, brackets included. Not wrapped, as a
        # broken line could neither be searched for nor copied.
        err.print(f"[bold red]riverrun:[/] {escape(reason)}", soft_wrap=True)
    sys.exit(code)
