"""`riverrun evaluate`: the two-tower beside the simple recommenders, on a split by time."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.table import Table

from riverrun.bench.machine import describe_machine
from riverrun.cli.console import err, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings

if TYPE_CHECKING:
    from trainer.evaluate import EvaluationRow
    from trainer.settings import TrainingSettings
    from trainer.tasks import Split


def evaluate(
    preset: Annotated[
        str | None,
        typer.Option(help="A public data set: online-retail or sequences.", metavar="NAME"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The data set's file or folder.", metavar="PATH")
    ] = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation",
            help="Ask about the validation slice, which settings may be chosen on, "
            "instead of the test.",
        ),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(help="Write the table to this file too.", metavar="FILE")
    ] = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on the past, ask about the future, and print the model beside simple recommenders.

    With `--preset`, on a public data set by its published protocol:

        riverrun evaluate --preset online-retail --data online_retail.csv.gz

    Without, on the archive of this shop, whose newest slice is the future.
    """
    settings = load_settings(settings_file, home=home)
    start = time.monotonic()
    if preset is None:
        split, training = _own_split(settings), settings.training
    else:
        split, training = _preset_split(preset, data, validation=validation)
    rows, epochs, training_seconds = _rows(split, training, settings)
    for task in split.tasks:
        out.print(metrics_table(task.name, [row for row in rows if row.task == task.name]))
    out.print(
        f"{len(split.past.items):,} items, {len(split.past.user_ids):,} users, "
        f"{len(split.past.item):,} events before the cut; two-tower trained {epochs} epochs in "
        f"{training_seconds:.0f} s, all in {time.monotonic() - start:.0f} s"
    )
    out.print(describe_machine())
    if json is not None:
        document = [
            {"task": row.task, "scorer": row.scorer, "users": row.num_users, **row.metrics}
            for row in rows
        ]
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _preset_split(
    preset: str, data: Path | None, *, validation: bool
) -> "tuple[Split, TrainingSettings]":
    from riverrun.importing import load_preset
    from riverrun.protocols import PROTOCOLS

    if preset not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise UserError(f"--preset {preset!r} has no evaluation protocol. Known: {known}.")
    if data is None:
        raise UserError("--preset needs --data, the data set's file or folder.")
    protocol = PROTOCOLS[preset]
    loaded = load_preset(preset, data)
    return (protocol.validation if validation else protocol.test)(loaded), protocol.settings


def _own_split(settings: Settings) -> "Split":
    from feature_repo.archive import Archive
    from trainer.interactions import Interactions
    from trainer.refresh import newest_slice_cut
    from trainer.tasks import temporal_split

    archive = Archive(settings.archive)
    events, items = archive.scan_events().collect(), archive.items()
    interactions = Interactions.from_frame(events, items)
    if len(interactions.item) == 0:
        raise UserError(f"{settings.archive} holds no events: `riverrun import` brings them in.")
    cut = newest_slice_cut(interactions, settings.training)
    return temporal_split(events, items, cut)


def _rows(
    split: "Split", training: "TrainingSettings", settings: Settings
) -> "tuple[Sequence[EvaluationRow], int, float]":
    from riverrun.cli.training_progress import refresh_progress
    from serving.text_embedding_cache import TextEmbeddingCache
    from trainer.baselines import baselines
    from trainer.evaluate import evaluate
    from trainer.refresh import two_tower_scorer
    from trainer.text_embeddings import catalogue_text_embeddings
    from trainer.text_tower import load_text_tower
    from trainer.train import train

    settings.home.mkdir(parents=True, exist_ok=True)
    cache = TextEmbeddingCache(settings.text_embeddings)
    with refresh_progress() as listener:
        start = time.monotonic()
        listener.stage("Embedding texts")
        tower = load_text_tower(training.text)
        texts = [item.text for item in split.past.items]
        embeddings = catalogue_text_embeddings(tower, texts, training.text, cache, listener.texts)
        listener.stage("Training")
        model = train(split.past, training, tower, embeddings, on_step=listener.step)
        seconds = time.monotonic() - start
        listener.stage("Evaluating")
        scorers = [*baselines(split.past), two_tower_scorer(model)]
    rows = [evaluate(scorer, task, embeddings) for task in split.tasks for scorer in scorers]
    cache.close()
    err.print()
    return rows, training.epochs, seconds


def metrics_table(task: str, rows: "Sequence[EvaluationRow]") -> Table:
    """Return the metrics of one task, a row for each scorer."""
    users = rows[0].num_users if rows else 0
    table = Table(title=f"{task} ({users:,} users)", title_justify="left")
    table.add_column("")
    names = list(rows[0].metrics) if rows else []
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.scorer, *(f"{row.metrics[name]:.4f}" for name in names))
    return table
