"""`riverrun evaluate`: the two-tower beside the simple recommenders, on a split by time."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from riverrun.bench.machine import describe_machine
from riverrun.cli.console import out
from riverrun.cli.metrics_tables import print_tables
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import (
    NO_RECENT_POPULARITY,
    DataOption,
    JsonOption,
    PresetOption,
    check_output,
    check_preset,
    read_preset,
)
from riverrun.cli.slices_table import slices_table
from riverrun.cli.workers import trained_together
from riverrun.errors import UserError
from riverrun.settings import load_settings

if TYPE_CHECKING:
    from riverrun.evaluating import Evaluation


def evaluate(
    preset: PresetOption = None,
    data: DataOption = None,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation",
            help="With --preset: ask about the validation slice, which settings may be chosen on.",
        ),
    ] = False,
    served: Annotated[
        bool,
        typer.Option(
            "--served",
            help="Judge the bundle that serves by what happened after its training; train nothing.",
        ),
    ] = False,
    slices: Annotated[
        bool,
        typer.Option(
            "--slices",
            help="Also by how much is known of the user and of the item; newcomers are asked "
            "too, after a second training.",
        ),
    ] = False,
    json: JsonOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on the past, ask about the future, and print the model beside simple recommenders.

    With `--preset`, on a public data set by its published protocol, with the settings chosen for it
    and the defaults of all others, whatever this shop's are (but for `training.precision` and
    `training.strategy`):

        riverrun evaluate --preset online-retail --data online_retail.csv.gz

    Without, on the archive of this shop, whose newest slice is the future.
    """
    settings = load_settings(settings_file, home=home)
    _check_options(preset, data, json, validation=validation, served=served)
    from riverrun.cli.training_progress import spaced_progress
    from riverrun.evaluating import (
        evaluate_served,
        evaluate_trained,
        preset_question,
        shop_question,
    )

    start = time.monotonic()
    if served:
        evaluations = evaluate_served(settings, with_slices=slices)
    else:
        if preset is None:
            question = shop_question(settings)
        else:
            protocol, loaded = read_preset(preset, data)
            question = preset_question(protocol, loaded, settings, validation=validation)
        with trained_together(settings):
            evaluations = evaluate_trained(question, settings, spaced_progress, with_slices=slices)
    for each in evaluations:
        split = each.split
        print_tables(each.rows)
        for task, methods in each.slices.items():
            out.print(slices_table(task, methods))
        out.print(
            f"{len(split.past.items):,} items, {len(split.past.user_ids):,} users, "
            f"{len(split.past.item):,} events in the past; {each.model}, "
            f"all in {time.monotonic() - start:.0f} s"
        )
    if not all(each.has_times for each in evaluations):
        out.print(NO_RECENT_POPULARITY)
    out.print(describe_machine(with_gpus=True))
    if json is not None:
        document = [entry for each in evaluations for entry in _document(each)]
        json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def _check_options(
    preset: str | None, data: Path | None, json: Path | None, *, validation: bool, served: bool
) -> None:
    """Refuse what does not go together before minutes are spent on it."""
    if served and preset is not None:
        raise UserError("--served judges this shop's own bundle: leave out --preset.")
    check_preset(preset, data, validation=validation)
    check_output("--json", json)


def _document(evaluation: "Evaluation") -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = []
    for row in evaluation.rows:
        entry = {"task": row.task, "scorer": row.scorer, "users": row.num_users, **row.metrics}
        for parts in evaluation.slices.get(row.task, ()):
            if parts[0].scorer == row.scorer:
                entry["slices"] = {
                    part.task: {"users": part.num_users, **part.metrics} for part in parts
                }
        document.append(entry)
    return document
