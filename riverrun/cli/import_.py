"""`riverrun import`: fill the archive from files."""

from pathlib import Path
from typing import Annotated

import typer

from riverrun.cli.console import err
from riverrun.cli.import_session import import_folder, import_session, import_with_bar
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.importing.mapping import Kind, load_mapping
from riverrun.importing.presets import PRESETS
from riverrun.importing.run import import_preset
from riverrun.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Fill the archive with items, users and events from files.

    Files are CSV, JSONL or Parquet, each also gzipped, of any size. Columns bear the names of the
    fields (user_id, item_id, event_type, timestamp ...) or a mapping says how to read them:

    ```toml
    [events]
    user_id = "CustomerID"
    item_id = "StockCode"
    event_type = { constant = "purchase" }
    timestamp.column = "Date"
    timestamp.format = "%d.%m.%Y %H:%M"
    timestamp.timezone = "Europe/Berlin"
    value = { column = "Price", decimal = "," }
    ```

    All that a mapping can say, with examples: infra/docs/importing.md.

    What is unusable is rejected, with reason, file and line, into a file beside the report; what
    can be repaired by rule is, and counted. An import can be run again with the same mapping:
    nothing is doubled.
    """,
)

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="CSV, JSONL or Parquet.")]
MappingOption = Annotated[
    Path | None,
    typer.Option("--mapping", "-m", metavar="MAP.toml", help="How columns become fields."),
]


@app.command()
def items(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import items: what people can be shown.

    Fields: **item_id**, title, description, categories (general to specific), brand, price, tags,
    attributes, available, published_at, deleted.

    **Examples**

    `riverrun import items products.jsonl.gz`

    `riverrun import items products.csv --mapping shop.toml`
    """
    _import_kind("items", files, mapping, home, settings)


@app.command()
def users(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import users: what is known of them besides events.

    Fields: **user_id**, attributes. Users of events need not be imported.

    **Example**

    `riverrun import users customers.csv --mapping shop.toml`
    """
    _import_kind("users", files, mapping, home, settings)


@app.command()
def events(
    files: Files,
    mapping: MappingOption = None,
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import events: who did what to which item, and when.

    Fields: **user_id**, **item_id**, **event_type**, **timestamp**, event_id, value, query,
    request_id, context. Without an event_id one is made from the content, so that the same
    event is known again. An event that is known is skipped: an import corrects none.

    **Examples**

    `riverrun import events events-*.parquet`

    `riverrun import events orders.csv --mapping shop.toml`
    """
    _import_kind("events", files, mapping, home, settings)


@app.command()
def preset(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(PRESETS)}.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file or folder as published.")],
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import a well-known data set as it is published, which is read whole into memory.

    - `online-retail`  UCI Online Retail: online_retail.csv[.gz]
    - `movielens`  a folder in the layout of MovieLens 100k, 1M or latest-small
    - `sequences`  S3-Rec text files, with the attributes beside them
    - `icecat`  Chorus' products.jsonl[.gz]; items only

    **Example**

    `riverrun import preset online-retail online_retail.csv.gz`
    """
    with (
        import_session(load_settings(settings, home=home), name) as sink,
        err.status(f"reading {path}"),
    ):
        import_preset(name, path, sink)


@app.command()
def shop(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of native files.")],
    home: HomeOption = None,
    settings: SettingsOption = None,
) -> None:
    """Import a whole folder: its files items*, users* and events*, as `riverrun sample` writes.

    **Example**

    `riverrun sample --out shop && riverrun import shop shop`
    """
    import_folder(folder, load_settings(settings, home=home))


def _import_kind(
    kind: Kind, files: list[Path], mapping: Path | None, home: Path | None, settings: Path | None
) -> None:
    loaded = None if mapping is None else load_mapping(mapping)
    with import_session(load_settings(settings, home=home), kind) as sink:
        import_with_bar(kind, files, loaded, sink)
