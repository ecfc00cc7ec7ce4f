"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="The folder of this shop.  [default: .riverrun]"),
]
SettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar="RIVERRUN_SETTINGS",
        help="Settings in TOML.  [default: riverrun.toml if present]",
    ),
]
