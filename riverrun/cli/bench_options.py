"""Options that several commands of `riverrun bench` take."""

from pathlib import Path
from typing import Annotated

import typer

LARGE = 100_000
SMALL = 2_000

ShopHome = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="Where the shop is kept.")
]
Items = Annotated[int, typer.Option(min=100, help="Items, and as many users.")]
Seconds = Annotated[int, typer.Option(min=1, help="How long each load lasts.")]
