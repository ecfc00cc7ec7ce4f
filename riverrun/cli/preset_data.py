"""A public data set as a command's data: its options, and what they must be."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from riverrun.errors import UserError

if TYPE_CHECKING:
    from riverrun.importing.presets import PresetData
    from riverrun.protocols import EvaluationProtocol

PresetOption = Annotated[
    str | None,
    typer.Option(help="Data: online-retail, sequences or movielens.", metavar="NAME"),
]
DataOption = Annotated[
    Path | None, typer.Option(help="The data set's file or folder.", metavar="PATH")
]
JsonOption = Annotated[
    Path | None, typer.Option(help="Write the table to this file too.", metavar="FILE")
]

NO_RECENT_POPULARITY = "no recent popularity: positions stand for times"
"""What is said beside the figures of such a data set."""


def check_preset(preset: str | None, data: Path | None, *, validation: bool) -> None:
    """Raise `UserError` where one of these is given without the other that it needs."""
    if preset is None and (data is not None or validation):
        given = "--data" if data is not None else "--validation"
        raise UserError(f"{given} needs --preset, the name of the data set.")
    if preset is not None and data is None:
        raise UserError("--preset needs --data, the data set's file or folder.")


def check_output(option: str, file: Path | None) -> None:
    """Raise `UserError` where `file`, if one is given, could not be written."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise UserError(f"{option} {file}: must be a file in a folder that exists.")


def read_preset(preset: str, data: Path | None) -> "tuple[EvaluationProtocol, PresetData]":
    """Return the protocol of a data set, and what is in `data`.

    Raises `UserError` for one that has no protocol, and what `load_preset` raises.
    """
    from riverrun.importing import load_preset

    protocol = protocol_of(preset)
    assert data is not None, "as `check_preset` has seen to"
    return protocol, load_preset(preset, data)


def protocol_of(preset: str) -> "EvaluationProtocol":
    """Return the protocol of a data set. Raises `UserError` for one that has none."""
    from riverrun.protocols import PROTOCOLS

    if preset not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise UserError(f"--preset {preset!r} has no evaluation protocol. Known: {known}.")
    return PROTOCOLS[preset]
