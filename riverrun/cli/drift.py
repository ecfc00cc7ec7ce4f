"""`riverrun drift`: how far events are from what the served model has learned from."""

from datetime import UTC, datetime

import typer
from rich.table import Table

from riverrun.cli.console import err, next_command, out
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.drifting import DRIFTED
from riverrun.errors import UserError
from riverrun.served_bundle import served_bundle
from riverrun.settings import load_settings


def drift(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Compare the events since the served model was trained with those that it was trained on.

    Ends with code 4 where a signal is above its threshold (`[refresh.drift.thresholds]`). The
    signals are kept, and exported as metrics by whatever serves.
    """
    from feature_repo.archive import Archive
    from riverrun.readable_archive import readable
    from trainer.refresh.drift import measure_drift
    from trainer.refresh.runs_file import RunsFile

    settings = load_settings(settings_file, home=home)
    asked, now = settings.refresh.drift, datetime.now(UTC)
    path = served_bundle(settings)
    archive = Archive(settings.archive)
    with readable(archive):
        events, catalogue = archive.events.scan(), archive.item_changes.keys()
        try:
            found = measure_drift(path, events, catalogue, asked, now)
        except ValueError as error:  # Of the bundle.
            raise UserError(str(error)) from error
    RunsFile(settings.bundles).write_drift(
        found.version, {each.name: each.value for each in found.signals}, now
    )
    since = f"{found.events:,} events since {found.since:%Y-%m-%d %H:%M} UTC"
    if found.events < asked.min_events:
        err.print(f"{since}: fewer than refresh.drift.min_events = {asked.min_events:,}")
        return
    if not found.signals:
        err.print(f"{since}: refresh.drift.thresholds names no signal to measure")
        return
    table = Table("signal", "value", "threshold", "", title=since, title_justify="left")
    for each in found.signals:
        verdict = "[red]drifted[/]" if each.drifted else ""
        table.add_row(each.name, f"{each.value:.3f}", f"{each.threshold:.3f}", verdict)
    out.print(table)
    if found.drifted:
        next_command(f"riverrun refresh {settings.options}", "renews the model")
        raise typer.Exit(DRIFTED)
