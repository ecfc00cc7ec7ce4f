"""`riverrun dead-letters`: the records that could not be used."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import err, next_command, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from feature_repo.event_log import EventLog

app = typer.Typer(
    no_args_is_help=True,
    help="Records that the worker could not use: kept with the reason, and put back when mended.",
)

SHOWN_BYTES = 60


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Print where each dead letter comes from, why it was refused, and how it begins."""
    from streaming.dead_letters import dead_letters

    settings = load_settings(settings_file, home=home)
    with _log(settings) as log:
        letters = list(dead_letters(log))
    table = Table("record", "key", "reason", "value")
    for letter in letters[-limit:]:
        (topic, partition), offset, key, value, *_ = letter.record
        table.add_row(
            f"{topic}/{partition}@{offset}",
            escape(repr(key)),
            escape(letter.reason),
            escape(repr((value or b"")[:SHOWN_BYTES]))
            if letter.is_whole
            else "not kept: too large",
        )
    out.print(table)
    err.print(f"{len(letters):,} dead letters")
    if letters:
        next_command(
            f"riverrun dead-letters replay {settings.options}",
            "reads them again, once the reason is mended",
        )


@app.command()
def replay(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Append the originals of the letters not replayed yet to their topics.

    What is still refused becomes a new dead letter. Records too large to be kept stay out.
    """
    from streaming.dead_letters import replay as replay_letters

    with _log(load_settings(settings_file, home=home)) as log:
        err.print(f"{replay_letters(log):,} records were put back")


@contextmanager
def _log(settings: Settings) -> "Iterator[EventLog]":
    from feature_repo.event_log import EventLogError
    from riverrun.opening import open_log

    try:
        with closing(open_log(settings)) as log:
            yield log
    except EventLogError as error:
        raise UserError(str(error)) from error
