"""`riverrun settings`: what is in force, and what it means."""

from typing import Annotated

import typer

from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.settings import load_settings
from riverrun.settings_reference import settings_reference


def settings(
    part: Annotated[
        str, typer.Argument(metavar="[PART]", help="Such as serving.ranking; all if left out.")
    ] = "",
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Print all settings with their meaning: those of the file, the environment, and defaults.

    What is printed is a settings file itself, for another name than that of the file that is read,
    which a shell empties first:

        riverrun settings serving.reranking > reranking.toml
    """
    typer.echo(settings_reference(load_settings(settings_file, home=home), part), nl=False)
