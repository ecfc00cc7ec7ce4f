"""`riverrun replay`: what learning from the stream brings, on a period of real events."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
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
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from riverrun.replay.questions import Moment, Period
    from riverrun.replay.refreshed import Refreshes, Trainer
    from riverrun.replay.scoring import Scores
    from riverrun.replay.settings import ReplaySettings
    from riverrun.replay.training import ReplayTraining
    from serving.bundle import Bundle
    from trainer.settings import TrainingSettings


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
    if preset is None:
        chosen = _own_period(settings, days)
    else:
        chosen = _preset_period(preset, data, validation=validation)
    period = replace(chosen.period, weightless=chosen.training.weightless)
    chosen = replace(chosen, period=period)
    if ask is not None:
        chosen = replace(chosen, period=chosen.period.sampled(ask))
    from riverrun.replay.scoring import Scores

    scores, start = Scores(), time.monotonic()
    plan = None if refresh is None else _Refreshing(refresh, cold)
    complete = _run(chosen, bundle, settings, scores, plan)
    report(scores, plot, json)
    if plan is not None and plan.done:
        out.print(refreshes_table(plan.done, scores, plan.every))
    period = chosen.period
    out.print(
        f"{period.num_events:,} events after {period.past.height:,} in the past, "
        f"{len(period.known_items):,} known and {len(period.new_items):,} other items; "
        f"{asked_of(period)}; {'' if complete else 'interrupted, '}{time.monotonic() - start:.0f} s"
    )
    out.print(describe_machine())


@dataclass(frozen=True)
class _Chosen:
    """What is replayed, and the settings of model and shop."""

    period: "Period"
    training: "TrainingSettings"
    replay: "ReplaySettings"


@dataclass
class _Refreshing:
    """How the model is refreshed. cold: also without a warm start. done: the refreshes so far."""

    every: Every
    cold: bool
    done: "dict[str, Refreshes]" = field(default_factory=dict)


def _check_options(
    preset: str | None, data: Path | None, plot: Path | None, json: Path | None, *, validation: bool
) -> None:
    """Refuse what does not go together before minutes are spent on it."""
    check_preset(preset, data, validation=validation)
    check_output("--plot", plot)
    check_output("--json", json)


def _preset_period(preset: str, data: Path | None, *, validation: bool) -> _Chosen:
    protocol, loaded = read_preset(preset, data)
    period = (protocol.replay_validation if validation else protocol.replay_test)(loaded)
    return _Chosen(period, protocol.settings, protocol.replay)


def _own_period(settings: Settings, days: int) -> _Chosen:
    from feature_repo.archive import Archive
    from riverrun.replay.questions import split_period
    from riverrun.replay.settings import ReplaySettings

    archive = Archive(settings.archive)
    events = archive.scan_events().collect()
    if events.is_empty():
        raise UserError(f"{settings.archive} holds no event: `riverrun import` brings them in.")
    newest: datetime = events.sort("timestamp").row(-1, named=True)["timestamp"]
    period = split_period(events, archive.items(), newest - timedelta(days=days))
    if period.past.is_empty():
        raise UserError(f"--days {days}: {settings.archive} holds nothing before them.")
    shop = ReplaySettings(settings.streaming, settings.serving, settings.history_length)
    return _Chosen(period, settings.training, shop)


def _run(
    chosen: _Chosen,
    bundle: Path | None,
    settings: Settings,
    scores: "Scores",
    plan: _Refreshing | None,
) -> bool:
    """Fill `scores`; return whether the whole period was replayed."""
    from riverrun.replay.refreshed import replay_refreshed
    from riverrun.replay.replay import replay as replay_learning
    from riverrun.replay.running import Run, ShopMaker
    from riverrun.replay.training import ReplayTraining, bundle_before
    from serving.text_embedding_cache import TextEmbeddingCache

    period = chosen.period
    try:
        with (
            closing(TextEmbeddingCache(settings.text_embeddings)) as cache,
            TemporaryDirectory(prefix="riverrun-replay-") as name,
        ):
            folder = Path(name)
            training = ReplayTraining(chosen.training, chosen.replay.service_settings, cache)
            path = bundle or _trained_on_past(training, period, folder / "training")
            opened = bundle_before(period, path)
            maker = ShopMaker(opened, chosen.replay, folder / "shops", cache)
            with _progress(period.num_events) as on_moment:
                run = Run(period, scores, on_moment)
                if plan is None:
                    replay_learning(run, maker)
                else:
                    replay_refreshed(
                        run,
                        maker,
                        every=plan.every.span,
                        trainers=_trainers(training, opened, folder, plan),
                        refreshes=plan.done,
                    )
    except KeyboardInterrupt:
        err.print("interrupted: what follows is of the part that was replayed.")
        return False
    return True


def _trainers(
    training: "ReplayTraining", first: "Bundle", folder: Path, plan: _Refreshing
) -> "dict[str, Trainer]":
    from riverrun.replay.refreshed import COLD, WARM
    from riverrun.replay.training import RefreshTrainer

    return {
        name: RefreshTrainer(training, folder / name, first.path, warm=name == WARM)
        for name in ((WARM, COLD) if plan.cold else (WARM,))
    }


def _trained_on_past(training: "ReplayTraining", period: "Period", folder: Path) -> Path:
    from riverrun.cli.training_progress import refresh_progress

    with refresh_progress() as listener:
        try:
            path = training.on_past(period, folder, listener)
        except ValueError as error:
            raise UserError(f"cannot train on the past: {error}") from error
    err.print()
    return path


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
