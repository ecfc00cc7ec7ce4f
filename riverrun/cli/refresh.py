"""`riverrun refresh`: a new model, which serves if it is good enough."""

from typing import Annotated

import typer
from rich.markup import escape

from feature_repo.times import LONGEST_DAYS
from riverrun.cli.console import err, next_command
from riverrun.cli.metrics_tables import print_tables
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.signals import end_at_sigterm
from riverrun.cli.workers import trained_together
from riverrun.errors import UserError
from riverrun.settings import load_settings, with_warm_start
from riverrun.training_material import require_material

REFUSED = 3
"""The exit code where a new bundle was made and the old one serves on."""
AT_WORK = 5
"""The exit code where another refresh of the shop is at work, which does what was asked for."""


def refresh(
    run_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Do this run once, however often it is asked for.  [default: a new run, or the "
            "one that was interrupted]",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Start from nothing, whatever serves.")
    ] = False,
    days: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=LONGEST_DAYS,
            help="Go on from what serves, and learn from the newest so many days alone.  "
            "[default: training.warm_start.days]",
        ),
    ] = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Train on what is archived, compare with what serves, and publish what passes the gates.

    The training goes on from what serves, where that was trained with the same settings.

    The gates are settings (`[refresh.gates]`). A bundle that fails them is kept and does not
    serve: the command then ends with code 3; `riverrun models show` tells why later. It ends with 5
    where another refresh of the shop is at work. Killed at any moment, it goes on where it was when
    it is run again.
    """
    settings = load_settings(settings_file, home=home)
    if full and days:
        raise UserError(f"--full starts from nothing, and --days {days:g} does not: give one.")
    if full:
        settings = with_warm_start(settings, enabled=False)
    elif days is not None:
        settings = with_warm_start(settings, days=days)
    require_material(settings)
    from riverrun.cli.training_progress import refresh_progress
    from riverrun.refreshing import refresh_from_archive
    from trainer.refresh.lock import RefreshRunning
    from trainer.refresh.running import run_refresh

    # One that was stopped says so, and does not count as one that was killed.
    end_at_sigterm()
    gates, keep = settings.refresh.gates, settings.refresh.keep
    try:
        with trained_together(settings), refresh_progress() as listener:
            run, done = run_refresh(
                settings.bundles,
                settings.checkpoints,
                run_id,
                lambda checkpoint, begin: refresh_from_archive(
                    settings, checkpoint, listener.also(begin), gates
                ),
                keep=keep,
            )
    except RefreshRunning as error:
        err.print(f"[bold red]riverrun:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(AT_WORK) from error
    if done is None:
        ended = f"run {run.run_id} has ended before: bundle {run.version} was {run.status}."
        err.print(ended, soft_wrap=True)
    else:
        print_tables(done.rows)
        err.print(f"{done.epochs} epochs, {done.start}", soft_wrap=True)
        if done.no_ranker:
            err.print(done.no_ranker, soft_wrap=True)
        if done.left_open:
            err.print(done.left_open, soft_wrap=True)
    if run.status == "refused":
        for reason in done.refusals if done else [run.message]:
            err.print(f"[bold red]refused:[/] {escape(reason)}", soft_wrap=True)
        next_command(
            f"riverrun models promote {run.version} {settings.options}",
            "serves it all the same, unless it is broken",
        )
        raise typer.Exit(REFUSED)
    # None: the run had ended before, and another bundle may serve since.
    if done is not None:
        err.print(f"run {run.run_id}: bundle {run.version} serves", soft_wrap=True)
    next_command(f"riverrun models {settings.options}", "lists what may serve")
