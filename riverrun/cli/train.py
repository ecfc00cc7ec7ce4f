"""`riverrun train`: from the archive to a bundle that serves."""

from typing import Annotated

import typer

from riverrun.cli.console import next_command
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.shop_training import train_shop
from riverrun.settings import load_settings, with_warm_start
from riverrun.training_material import require_material


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
