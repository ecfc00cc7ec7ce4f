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
HostOption = Annotated[
    str | None, typer.Option("--host", help="Address to listen on.  [default: 127.0.0.1]")
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", "-p", min=0, max=65_535, help="Port to listen on.  [default: 8080]"),
]
