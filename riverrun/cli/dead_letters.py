"""`riverrun dead-letters`: the records that could not be used."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import err, next_command, out, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import failed_by
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from feature_repo.event_log import EventLog
    from streaming.erased_users import ErasedUsers
    from streaming.stream_state import OpenState

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
    """Print where each dead letter comes from, why it was refused, and how it begins.

    Of those of users who were erased since, the place alone.
    """
    from streaming.dead_letters import DeadLetter, dead_letters

    settings = load_settings(settings_file, home=home)
    with _opened(settings) as (log, _, erased):
        count, shown = 0, deque[DeadLetter](maxlen=limit)
        for letter in dead_letters(log, _say_foreign):
            count += 1
            shown.append(letter)
        erasures = erased.moments({each for letter in shown for each in letter.user_ids})
    table = Table("record", "key", "reason", "value")
    for letter in shown:
        (topic, partition), offset, key, value, *_ = letter.record
        place = f"{topic}/{partition}@{offset}"
        if letter.precedes(erasures):
            table.add_row(place, "", "the user was erased since: it is not put back", "")
            continue
        table.add_row(
            place,
            escape(repr(key)),
            escape(letter.reason),
            escape(repr((value or b"")[:SHOWN_BYTES]))
            if letter.is_whole
            else "not kept: too large",
        )
    out.print(table)
    err.print(f"{count:,} dead letters")
    if count:
        next_command(
            f"riverrun dead-letters replay {settings.options}",
            "reads them again, once the reason is mended",
        )


@app.command()
def replay(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Append the originals of the letters not replayed yet to their topics.

    What is still refused becomes a new dead letter. Records too large to be kept stay out, and so
    does what was taken of a user before the user was erased, and what a later record of the same
    item or user has replaced.
    """
    from streaming.dead_letters import replay as replay_letters

    with _opened(load_settings(settings_file, home=home)) as (log, state, erased):
        replayed = replay_letters(
            log, erased.moments, erased.known_from, _say_foreign, items_of=state.items
        )
    err.print(f"{replayed.put_back:,} records were put back")
    for count, reason in (
        (replayed.erased, "their users were erased since"),
        (replayed.forgotten, "so old that an erasure of their users may be forgotten"),
        (replayed.superseded, "a later record of their item or user was taken since"),
        (replayed.uncertain, "so old that a later record of their item or user may be forgotten"),
        (replayed.cut, "they were too large to be kept"),
    ):
        if count:
            err.print(f"{count:,} left out: {reason}")


def _say_foreign(reason: str) -> None:
    say(f"passed over: {reason}")


@contextmanager
def _opened(settings: Settings) -> "Iterator[tuple[EventLog, OpenState, ErasedUsers]]":
    from feature_repo.event_log import EventLogError
    from riverrun.opening import open_log, open_state
    from streaming.erased_users import ErasedUsers
    from streaming.stream_state import StateError

    try:
        with ExitStack() as stack:
            log = stack.enter_context(closing(open_log(settings)))
            state = stack.enter_context(closing(open_state(settings)))
            erased = ErasedUsers(log, state, settings.streaming, time.time())
            yield log, state, stack.enter_context(closing(erased))
    except (EventLogError, StateError) as error:
        raise failed_by(error) from error
