"""`riverrun replay`: what learning from the stream brings, on a period of real events."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from feature_repo.times import LONGEST_DAYS
from riverrun.bench.machine import describe_machine
from riverrun.cli.console import err, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import (
    DataOption,
    JsonOption,
    PresetOption,
    check_output,
    check_preset,
    read_preset,
)
from riverrun.cli.replay_tables import asked_of, refreshes_table, slice_table, table_over_time
from riverrun.errors import UserError
from riverrun.settings import load_settings

if TYPE_CHECKING:
    from riverrun.replay.questions import Moment
    from riverrun.replay.scoring import Scores


class Every(StrEnum):
    """How often a replay renews the model."""

    DAILY = "daily"
    WEEKLY = "weekly"

    @property
    def span(self) -> timedelta:
        """The time from one refresh to the next."""
        return timedelta(days=1 if self is Every.DAILY else 7)


def replay(
    preset: PresetOption = None,
    data: DataOption = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation",
            help="With --preset: replay the period before, which settings may be chosen on.",
        ),
    ] = False,
    days: Annotated[
        int,
        typer.Option(
            min=1,
            max=LONGEST_DAYS,
            help="Without --preset: replay the newest days of the archive.",
        ),
    ] = 30,
    ask: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Ask N of the questions, drawn once, and learn from all events.  [default: all]",
        ),
    ] = None,
    refresh: Annotated[
        Every | None,
        typer.Option(
            help="Renew the model so often as well: frozen, refreshed, streaming and both.",
        ),
    ] = None,
    cold: Annotated[
        bool,
        typer.Option(
            "--cold", help="With --refresh: also train from nothing each time, to compare."
        ),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A bundle that was trained before the period.  [default: train one]",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw NDCG and recall over time.")
    ] = None,
    json: JsonOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Ask before every event, then learn from it, and print what each kind of learning adds.

    The real log, worker, index and recommender run in this process, on a copy in a temporary
    folder. With `--preset`, on a public data set:

        riverrun replay --preset online-retail --data online_retail.csv.gz --plot replay.png

    With `--refresh daily` or `weekly`, the model is renewed too, each time from the one before.
    Without a preset, on the archive of this shop. With `--ask 500` it takes minutes: a question is
    what one user did at one moment. Interrupted, it prints what it has so far.
    """
    settings = load_settings(settings_file, home=home)
    _check_options(preset, data, plot, json, validation=validation)
    if cold and refresh is None:
        raise UserError("--cold needs --refresh, daily or weekly.")
    from riverrun.replay.replayed_period import preset_period, shop_period

    if preset is None:
        replayed = shop_period(settings, days)
    else:
        replayed = preset_period(*read_preset(preset, data), validation=validation)
    if ask is not None:
        replayed = replace(replayed, period=replayed.period.sampled(ask))
    from riverrun.cli.training_progress import spaced_progress
    from riverrun.replaying import Renewal, replay_period

    start = time.monotonic()
    renewal = None if refresh is None else Renewal(refresh.span, cold)
    result = replay_period(
        replayed, bundle, renewal, settings, listening=spaced_progress, replaying=_progress
    )
    if result.interrupted:
        err.print("interrupted: what follows is of the part that was replayed.")
    report(result.scores, plot, json)
    if refresh is not None and result.refreshes:
        out.print(refreshes_table(result.refreshes, result.scores, refresh))
    period, interrupted = replayed.period, "interrupted, " if result.interrupted else ""
    out.print(
        f"{period.num_events:,} events after {period.past.height:,} in the past, "
        f"{len(period.known_items):,} known and {len(period.new_items):,} other items; "
        f"{asked_of(period)}; {interrupted}{time.monotonic() - start:.0f} s"
    )
    out.print(describe_machine())


def _check_options(
    preset: str | None, data: Path | None, plot: Path | None, json: Path | None, *, validation: bool
) -> None:
    """Refuse what does not go together before minutes are spent on it."""
    check_preset(preset, data, validation=validation)
    check_output("--plot", plot)
    check_output("--json", json)


@contextmanager
def _progress(total: int) -> "Iterator[Callable[[Moment], None]]":
    columns = (
        TextColumn("Replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as bars:
        task = bars.add_task("", total=total)
        yield lambda moment: bars.advance(task, len(moment.events))


def report(scores: "Scores", plot: Path | None, json: Path | None) -> None:
    """Print the scores of each slice, and over time; draw them to `plot`, write them to `json`."""
    from riverrun.replay.plot import plot_over_time
    from riverrun.replay.scoring import METRICS, NOVEL, SLICES

    rows = scores.rows()
    for slice_ in SLICES:
        own = [row for row in rows if row.slice == slice_]
        if own:
            out.print(slice_table(slice_, own))
    span = scores.span()
    over_time = scores.over_time(span.days)
    novel = [row for row in over_time if row.slice == NOVEL]
    if novel:
        for metric in METRICS:
            out.print(table_over_time(span.name, novel, metric))
    if plot is not None and novel:
        plot_over_time(over_time, NOVEL, span.name, plot)
    if json is not None:
        document = {"overall": rows, f"by {span.name}": over_time}
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
