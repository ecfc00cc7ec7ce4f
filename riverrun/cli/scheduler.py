"""`riverrun scheduler`: refreshes by the clock."""

from riverrun.cli.console import err
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.signals import stopped_by_signal
from riverrun.errors import UserError
from riverrun.settings import load_settings


def scheduler(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Run `riverrun refresh` at each time of the setting `refresh.schedule`, until it is stopped.

    `riverrun up` does so itself where the schedule is set. A cluster's own scheduler does as
    well: infra/kubernetes has a CronJob. Two at once do no harm: one refresh runs at a time.
    """
    from riverrun.logging import configure_logging
    from riverrun.scheduling import RefreshScheduler

    settings = load_settings(settings_file, home=home)
    if not settings.refresh.schedule:
        raise UserError(
            "settings: refresh.schedule: must be a cron expression. Received: ''. "
            'For example: RIVERRUN_REFRESH__SCHEDULE="30 3 * * *" riverrun scheduler'
        )
    configure_logging()
    stopped = stopped_by_signal()
    refreshes = RefreshScheduler.of(settings, settings_file)
    refreshes.start()
    err.print(f"the next refresh of {settings.home} begins at {refreshes.due:%Y-%m-%d %H:%M} UTC")
    try:
        stopped.wait()
    finally:
        refreshes.stop()
