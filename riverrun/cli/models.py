"""`riverrun models`: what is published, what serves, going from one to another, and export."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from riverrun.cli.console import err, next_command, out, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.version_report import events_of, print_report
from riverrun.errors import UserError
from riverrun.served_bundle import to_make_one
from riverrun.settings import Settings, load_settings
from trainer.refresh.gate_settings import LEAVE_ONE_OUT

if TYPE_CHECKING:
    from serving.bundle import Manifest
    from trainer.refresh.bundle_versions import BundleVersion

app = typer.Typer(help="List the published models; serve another one of them.")

TABLE_WIDTH = 125
"""Columns of a terminal that hold the list of versions whole."""

METRICS = ("ndcg@10", "recall@20", "coverage@10")
"""Those of `trainer.evaluate` that are listed of every version."""

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As `riverrun models` lists it.")]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, home: HomeOption = None, settings_file: SettingsOption = None
) -> None:
    """List the published models, the newest first: what they learned from, and how they do."""
    if command := context.invoked_subcommand:
        # Options before the subcommand count for it too, or it could delete another shop's model.
        given = {"home": home, "settings_file": settings_file}
        context.default_map = {command: {name: each for name, each in given.items() if each}}
        return
    from serving.bundle import BundleError
    from trainer.refresh.bundle_versions import bundle_versions

    settings = load_settings(settings_file, home=home)
    bundles = settings.bundles
    with _refusals(settings):
        versions = bundle_versions(bundles)
    if not versions:
        raise _none(settings)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    metrics = (name.replace("ndcg", "NDCG") for name in METRICS)
    for name in ("version", "status", "items", "events", *metrics, "parent"):
        table.add_column(name, no_wrap=True)
    for each in versions:
        table.add_row(*_row(each))
    # In a narrow terminal versions would be cut off, and could not be copied.
    Console(highlight=False, emoji=False, width=max(out.width, TABLE_WIDTH)).print(table)
    listed = [value for each in versions if each.manifest for value in _listed(each.manifest)]
    if any(value.endswith("*") for value in listed):
        out.print("* of users' last events, not of a slice of time")
    for each in versions:
        note = each.note
        try:
            if each.status == "serving" and (fusion := _fusion(bundles, each)):
                note = f"the fusion weighs {fusion}"
        except BundleError as error:  # The list is useful even then, or just then.
            note = str(error)
        if note:
            out.print(f"{each.version}: {escape(note)}", soft_wrap=True)
    _next(settings, versions)


@app.command()
def show(version: Version, home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Print how a version was judged: beside what served then, and why it was refused."""
    from trainer.refresh.version_report import version_report

    settings = load_settings(settings_file, home=home)
    with _refusals(settings):
        report = version_report(settings.bundles, version)
    print_report(report)
    if report.version.status == "refused":
        command = f"riverrun models promote {version} {settings.options}"
        next_command(command, "serves it all the same, unless it is broken")
    else:
        next_command(f"riverrun models {settings.options}", "lists what may serve")


@app.command()
def promote(
    version: Version, home: HomeOption = None, settings_file: SettingsOption = None
) -> None:
    """Serve this version from now on; running servers swap it in between two requests."""
    from trainer.refresh.bundle_versions import promote as promote_version

    settings = load_settings(settings_file, home=home)
    with _refusals(settings):
        promote_version(settings.bundles, version, datetime.now(UTC))
    err.print(f"{version} serves")


@app.command()
def rollback(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Serve again what served before."""
    from serving.published_bundles import published_versions
    from trainer.refresh.bundle_versions import rollback as roll_back

    settings = load_settings(settings_file, home=home)
    if not published_versions(settings.bundles):
        raise _none(settings)
    with _refusals(settings):
        version = roll_back(settings.bundles, datetime.now(UTC))
    err.print(f"{version} serves again")


@app.command()
def delete(version: Version, home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Remove a version that does not serve."""
    from trainer.refresh.bundle_versions import delete as delete_version

    settings = load_settings(settings_file, home=home)
    with _refusals(settings):
        delete_version(settings.bundles, version)
    err.print(f"{version} is gone")


@app.command()
def export(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="What TensorFlow Serving reads models from.")
    ],
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="[default: what serves]")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="[default: serving.tensorflow_serving.model_name]"),
    ] = None,
    without_custom_ops: Annotated[
        bool,
        typer.Option(
            "--without-custom-ops",
            help="Score every item instead of searching by ScaNN's ops, which TensorFlow Serving's "
            "own binary has not.",
        ),
    ] = False,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Write a version's SavedModel for a TensorFlow Serving: DIR/NAME/<version's integer>/."""
    from serving.bundle import BundleError
    from serving.published_bundles import current_version
    from trainer.model_export import custom_ops_of, export_model
    from trainer.refresh.bundle_versions import require_published

    settings = load_settings(settings_file, home=home)
    with _refusals(settings):
        version = version or current_version(settings.bundles)
    if version is None:
        raise _none(settings)
    with _refusals(settings):
        require_published(settings.bundles, version)
    try:
        path = export_model(
            settings.bundles / version,
            to,
            name or settings.serving.tensorflow_serving.model_name,
            custom_ops=not without_custom_ops,
        )
    except (BundleError, FileExistsError) as error:
        raise UserError(str(error)) from error
    custom_ops = custom_ops_of(path)
    needs = f"TensorFlow Serving with {', '.join(custom_ops)}" if custom_ops else "no custom op"
    say(f"{version} lies at {path}, and needs {needs}")


@contextmanager
def _refusals(settings: Settings) -> Iterator[None]:
    """Tell the user why versions cannot be listed, promoted or deleted, by `UserError`."""
    from serving.bundle import BundleError
    from trainer.refresh.bundle_versions import VersionError

    try:
        yield
    except VersionError as error:
        raise UserError(str(error)) from error
    except BundleError as error:  # `CURRENT` is damaged.
        hint = f"To say which one serves: riverrun models promote VERSION {settings.options}"
        raise UserError(f"{error} {hint}") from error


def _next(settings: Settings, versions: Sequence["BundleVersion"]) -> None:
    """Suggest going back, where there is something to go back to and nobody has just chosen."""
    from trainer.refresh.bundle_versions import served_before
    from trainer.refresh.runs_file import RunsFile

    bundles = settings.bundles
    serving = next((each.version for each in versions if each.status == "serving"), None)
    if serving is None:
        command = f"riverrun models promote {versions[0].version} {settings.options}"
        next_command(command, "serves the newest")
    elif served_before(bundles, serving) and not RunsFile(bundles).was_chosen_by_hand():
        command = f"riverrun models rollback {settings.options}"
        next_command(command, "serves again what served before")
    else:
        next_command(f"riverrun refresh {settings.options}", "makes a newer one")


def _none(settings: Settings) -> UserError:
    return UserError(f"{settings.bundles} holds no bundle. {to_make_one(settings)}")


def _fusion(bundles: Path, each: "BundleVersion") -> str:
    """Return the calibrated weights for lists that no ranker orders; "" where there are none.

    Raises `BundleError` where the bundle's file is damaged.
    """
    from serving.ranking.bundle_files import read_fusion
    from serving.source_names import REMAINDER

    if each.manifest is None:
        return ""
    fusion = read_fusion(bundles / each.version, each.manifest)
    if fusion is None:
        return ""
    shares = {REMAINDER: 1 - sum(fusion.weights.values()), **fusion.weights}
    ordered = sorted(shares.items(), key=lambda share: -share[1])
    weights = ", ".join(f"{name} {weight:.3f}" for name, weight in ordered)
    return f"{weights}; temperature {fusion.temperature:g}"


def _row(each: "BundleVersion") -> tuple[str, ...]:
    manifest = each.manifest
    if manifest is None:
        return each.version, f"[red]{each.status}[/]"
    status = f"[bold green]{each.status}[/]" if each.status == "serving" else each.status
    return (
        each.version,
        status,
        f"{manifest.num_items:,}",
        events_of(manifest),
        *_listed(manifest),
        manifest.parent or "",
    )


def _listed(manifest: "Manifest") -> list[str]:
    """Return `METRICS` as listed, with a star where each user's last events were held out."""
    metrics = manifest.metrics
    for task, mark in (("all", ""), (LEAVE_ONE_OUT, "*")):
        if f"{task}/{METRICS[0]}" in metrics:
            values = [metrics.get(f"{task}/{name}") for name in METRICS]
            return ["" if value is None else f"{value:.4f}{mark}" for value in values]
    return [""] * len(METRICS)
