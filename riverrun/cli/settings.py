"""`riverrun settings`: what is in force, and what it means."""

from typing import Annotated

import typer

from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.preset_data import protocol_of
from riverrun.settings import load_settings
from riverrun.settings_reference import settings_reference


def settings(
    part: Annotated[
        str, typer.Argument(metavar="[PART]", help="Such as serving.ranking; all if left out.")
    ] = "",
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With those chosen for data like online-retail, sequences or movielens.",
        ),
    ] = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Print all settings with their meaning: those of the file, the environment, and defaults.

    What is printed is a settings file itself, for another name than that of the file that is read,
    which a shell empties first:

        riverrun settings serving.reranking > reranking.toml

    With --preset, what `riverrun evaluate` and the benchmarks train with is in force instead, for a
    shop that has imported such data or has data like it:

        riverrun settings --preset movielens > movies.toml
        riverrun train --settings movies.toml
    """
    chosen = load_settings(settings_file, home=home)
    if preset is not None:
        chosen = protocol_of(preset).of_shop(chosen)
    typer.echo(settings_reference(chosen, part), nl=False)
