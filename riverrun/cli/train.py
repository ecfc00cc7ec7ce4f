"""`riverrun train`: from the archive to a bundle that serves."""

from typing import Annotated, Literal

import typer
from rich.markup import escape

from feature_repo.archive import Archive
from riverrun.cli.console import err, next_command
from riverrun.cli.metrics_tables import print_tables
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings, with_warm_start


def train(
    full: Annotated[
        bool,
        typer.Option("--full", help="Start from nothing, whatever serves."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what an interrupted training has reached.")
    ] = False,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on everything imported or received so far, and serve the result whatever it is.

    It goes on from the model that serves, where that was trained with the same settings, unless
    `--full` is given. `riverrun refresh` renews a model that serves, and only where the new one is
    good enough.

    A training that is interrupted goes on where it stopped when it is run again, and begins anew
    where events or items have come since. A running `riverrun up` notices the new bundle and swaps
    it in between two requests.
    """
    settings = load_settings(settings_file, home=home)
    if full:
        settings = with_warm_start(settings, enabled=False)
    require_material(settings)
    train_shop(settings, fresh=fresh)
    next_command(f"riverrun up {settings.options}", "serves it and learns from events")


def require_material(settings: Settings) -> None:
    """Raise `UserError` where there is nothing to train on, before TensorFlow is imported."""
    kind = missing_kind(settings)
    if kind is not None:
        what = {"items": "the catalogue is empty", "events": "there are no events"}[kind]
        way_on = f"riverrun import {kind} FILE {settings.options}"
        raise UserError(f"{settings.archive}: {what}. To import {kind}: {way_on}")


def missing_kind(settings: Settings) -> Literal["items", "events"] | None:
    """Return what a training needs and the archive never got, items first; None if nothing."""
    archive = Archive(settings.archive)
    if not archive.has_items():
        return "items"
    return None if archive.has_events() else "events"


def train_shop(settings: Settings, *, fresh: bool = False) -> None:
    """Train on the archive of `settings.home`, publish, and print how the model compares."""
    from riverrun.cli.training_progress import refresh_progress
    from riverrun.refreshing import refresh_from_archive
    from trainer.refresh.lock import RefreshRunning
    from trainer.refresh.running import run_training

    try:
        with refresh_progress() as listener:
            done = run_training(
                settings.bundles,
                settings.checkpoints,
                lambda checkpoint: refresh_from_archive(settings, checkpoint, listener),
                fresh=fresh,
            )
    except RefreshRunning as error:
        raise UserError(str(error)) from error
    print_tables(done.rows)
    made = f"bundle {done.bundle.name}: {done.epochs} epochs, {done.start}; in {done.bundle}"
    err.print(escape(made), soft_wrap=True)
