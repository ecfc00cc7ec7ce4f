"""`riverrun models`: what is published, what serves, and going from one to another."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from riverrun.cli.console import err, next_command, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError
from riverrun.settings import load_settings

if TYPE_CHECKING:
    from trainer.bundle_versions import BundleVersion

app = typer.Typer(help="List the published models; serve another one of them.")

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As `riverrun models` lists it.")]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, home: HomeOption = None, settings_file: SettingsOption = None
) -> None:
    """List the published models, the newest first: what they learned from, and how they do."""
    if context.invoked_subcommand is not None:
        return
    from trainer.bundle_versions import bundle_versions

    bundles = _bundles(settings_file, home)
    versions = bundle_versions(bundles)
    if not versions:
        raise UserError(f"{bundles} holds no bundle. To make one: riverrun train")
    table = Table("version", "status", "items", "events until", "NDCG@10", "parent")
    for each in versions:
        table.add_row(*_row(each))
    out.print(table)
    for each in versions:
        if each.note:
            out.print(f"{each.version}: {each.note}")
    next_command("riverrun models rollback", "serves again what served before")


@app.command()
def promote(
    version: Version, home: HomeOption = None, settings_file: SettingsOption = None
) -> None:
    """Serve this version from now on; running servers swap it in between two requests."""
    from trainer.bundle_versions import promote as promote_version

    with _refusals():
        promote_version(_bundles(settings_file, home), version, datetime.now(UTC))
    err.print(f"{version} serves")


@app.command()
def rollback(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Serve again what served before."""
    from trainer.bundle_versions import rollback as roll_back

    with _refusals():
        version = roll_back(_bundles(settings_file, home), datetime.now(UTC))
    err.print(f"{version} serves again")


@app.command()
def delete(version: Version, home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Remove a version that does not serve."""
    from trainer.bundle_versions import delete as delete_version

    with _refusals():
        delete_version(_bundles(settings_file, home), version)
    err.print(f"{version} is gone")


@contextmanager
def _refusals() -> Iterator[None]:
    """Tell a person why a version cannot be promoted or deleted."""
    from trainer.bundle_versions import VersionError

    try:
        yield
    except VersionError as error:
        raise UserError(str(error)) from error


def _bundles(settings_file: Path | None, home: Path | None) -> Path:
    return load_settings(settings_file, home=home).bundles


def _row(each: "BundleVersion") -> tuple[str, ...]:
    manifest = each.manifest
    if manifest is None:
        return each.version, f"[red]{each.status}[/]", "", "", "", ""
    status = f"[bold green]{each.status}[/]" if each.status == "serving" else each.status
    end = manifest.data_window.end
    ndcg = manifest.metrics.get("all/ndcg@10")
    return (
        each.version,
        status,
        f"{manifest.num_items:,}",
        f"{end:%Y-%m-%d %H:%M}" if end else "",
        "" if ndcg is None else f"{ndcg:.4f}",
        manifest.parent or "",
    )
