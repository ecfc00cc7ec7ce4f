"""`riverrun tune`: choose settings by what the shop holds out of its own events."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import err, next_command, out, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import DEFAULT_FILE, Settings, load_settings
from riverrun.settings_file import settings_toml, write_settings

if TYPE_CHECKING:
    from riverrun.tuning import Bounds, Found, ShopTuning
    from trainer.tuning.search import Tried
    from trainer.tuning.tuned_settings import TunedSettings

SHOWN = 3
"""How many of the best trials are shown beside the settings at present."""

NOT_WRITTEN = 3


def tune(
    trials: Annotated[
        int,
        typer.Option(min=2, help="Try so many settings of each part, those at present among them."),
    ] = 40,
    minutes: Annotated[
        float, typer.Option(help="Begin no other trial after so many minutes.")
    ] = 60.0,
    model: Annotated[
        bool,
        typer.Option("--model", help="Then search the two-tower's too: each trial trains one."),
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Put what is better into the settings file."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what earlier searches have tried.")
    ] = False,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Search settings that rank what the newest slice of the events holds better.

    Settings are chosen by NDCG@10 of the list as a whole for half of the users who can be asked
    about that slice, and confirmed by the other half. A source is switched only where both halves
    tell the difference from noise. The search goes on where it was interrupted,
    as long as events, items and settings are the same; Ctrl-C ends it and keeps what was found.

    With `--write`, ends with code 3 where nothing is better and the file stays as it is.
    """
    if not minutes > 0:
        raise UserError(f"--minutes must be above 0. Received: {minutes}.")
    settings = load_settings(settings_file, home=home)
    deadline = time.monotonic() + 60 * minutes
    from riverrun.cli.training_progress import refresh_progress
    from riverrun.tuning import Bounds, shop_tuning

    bounds = Bounds(trials, lambda: time.monotonic() < deadline)
    wanted = ("ranking", "sources", "model") if model else ("ranking", "sources")
    with refresh_progress() as listener, shop_tuning(settings, listener) as tuning:
        if fresh:
            tuning.forget()
        found = _searched(tuning, wanted, bounds)
    if any(part.interrupted for part in found.values()):
        err.print("interrupted: the same command goes on from here.")
    elif left := " and the ".join(wanted[len(found) :]):
        err.print(f"no time is left to search the {left}: the same command goes on from here.")
    present = next((tried for tried in found["ranking"].results if tried.number == 0), None)
    if present is None:
        err.print("nothing was tried to the end.")
        raise typer.Exit(NOT_WRITTEN if write else 0)
    for name, part in found.items():
        if part.results:
            out.print(_table(name, part, present, settings.training.seed))
            if name == "sources" and part.results[0].number == 0:
                out.print("The sources stay as they are: no change of them is beyond noise.\n")
    values = _chosen(found.values(), present, settings)
    if write and not values:
        err.print("nothing is written.")
        raise typer.Exit(NOT_WRITTEN)
    if write:
        file = settings_file or DEFAULT_FILE
        write_settings(file, values)
        say(f"written to {file}.")
        next_command(f"riverrun train --full {settings.options}", "trains with it")


def _searched(tuning: "ShopTuning", wanted: Sequence[str], bounds: "Bounds") -> "dict[str, Found]":
    """Search the parts in turn while there is time, each from the best of the one before."""
    searches = {"sources": tuning.sources, "model": tuning.model}
    part = tuning.ranking(bounds)
    found = {"ranking": part}
    for name in wanted[1:]:
        if part.interrupted or not bounds.has_time():
            break
        found[name] = part = searches[name](part.results[0].settings, bounds)
    return found


def _chosen(found: "Iterable[Found]", present: "Tried", settings: Settings) -> dict[str, Any]:
    """Say what the best of all trials is worth; return the settings that it changes.

    Returns no settings where it is no gain.
    """
    from trainer.tuning.space import changes
    from trainer.tuning.tuned_settings import TunedSettings

    parts = list(found)
    best = max((part.results[0] for part in parts if part.results), key=lambda each: each.value)
    searched = {name: each for part in parts for name, each in part.space.items()}
    at_present = TunedSettings(training=settings.training, serving=settings.serving)
    values = changes(at_present, best.settings, searched)
    if sum(len(part.results) + part.pruned for part in parts) == 1:
        out.print("Nothing but the settings at present was tried.")
        return {}
    if not values:
        out.print("Nothing that was tried is better than the settings at present.")
        return {}
    if not _judge(best, present, settings.training.seed):
        return {}
    out.print(f"\n{escape(settings_toml(values))}", soft_wrap=True)
    return values


def _judge(best: "Tried", present: "Tried", seed: int) -> bool:
    """Say how good the best settings are for the confirming users; return whether it is a gain."""
    gain, low, high = best.gain(present, seed)
    users = f"the {len(best.answers.confirming):,} users who had no part in the choice"
    measured = f"{gain:+.4f} NDCG@10, 95 % interval {low:+.4f} to {high:+.4f}, for {users}"
    if gain <= 0:
        out.print(f"No gain: {measured}. Keep the settings at present.")
    elif low <= 0:
        out.print(f"Perhaps a gain: {measured}. It may be noise.")
    else:
        out.print(f"A gain: {measured}.")
    return gain > 0


def _table(name: str, part: "Found", present: "Tried", seed: int) -> Table:
    """Return the best trials beside the one of the settings at present."""
    first = [tried for tried in part.results if tried.number == 0]
    shown = [*first, *[tried for tried in part.results if tried.number][:SHOWN]]
    ended = len(part.results) + part.pruned
    base = "at present" if present in first else "with the above"
    title = f"{name} ({ended} trials, {part.pruned} of them given up early)"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for tried in shown:
        table.add_column(f"trial {tried.number}" if tried.number else base, justify="right")
    answers = present.answers
    table.add_row(
        f"NDCG@10, {len(answers.choosing):,} users", *(f"{each.value:.4f}" for each in shown)
    )
    gains = [each.gain(present, seed) for each in shown]
    table.add_row(
        f"gain, {len(answers.confirming):,} others", *(f"{gain:+.4f}" for gain, _, _ in gains)
    )
    table.add_row("95 % interval", *(f"{low:+.4f} {high:+.4f}" for _, low, high in gains))
    table.add_section()
    for setting in part.space:
        table.add_row(*_row(setting, [each.settings for each in shown]))
    return table


def _row(setting: str, shown: "Sequence[TunedSettings]") -> list[str]:
    from serving.source_names import SOURCES
    from trainer.tuning.space import SOURCES_ON, value_of

    values = [value_of(settings, setting) for settings in shown]
    if setting != SOURCES_ON:
        return [setting.rpartition(".")[2], *map(str, values)]
    off = ([source for source in SOURCES if source not in on] for on in values)
    return ["sources off", *(", ".join(each) or "none" for each in off)]
