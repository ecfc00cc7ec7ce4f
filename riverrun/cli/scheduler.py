"""`riverrun scheduler`: refreshes by the clock."""

from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.cli.signals import stopped_by_signal
from riverrun.cli.until_stopped import refreshes_of
from riverrun.errors import UserError
from riverrun.settings import load_settings


def scheduler(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Run `riverrun refresh` at each time of the setting `refresh.schedule`, until it is stopped.

    And where the settings ask for it (`refresh.drift`), when events are too far from the model.

    `riverrun up` does so itself where the schedule is set. A cluster's own scheduler does as
    well: infra/kubernetes has a CronJob. Two at once do no harm: one refresh runs at a time.
    """
    settings = load_settings(settings_file, home=home)
    if not settings.refresh.schedule and not settings.refresh.drift.check_hours:
        raise UserError(
            "settings: refresh.schedule: must be a cron expression. Received: ''. "
            'For example: RIVERRUN_REFRESH__SCHEDULE="30 3 * * *" riverrun scheduler'
        )
    stopped = stopped_by_signal()
    with refreshes_of(settings, settings_file):
        stopped.wait()
