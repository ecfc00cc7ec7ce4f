"""`riverrun rebuild`: the stream's state again, from the archive."""

from contextlib import closing

from riverrun.cli.console import counting, say
from riverrun.cli.options import HomeOption, SettingsOption
from riverrun.errors import UserError, failed_by
from riverrun.settings import load_settings


def rebuild(home: HomeOption = None, settings_file: SettingsOption = None) -> None:
    """Empty the stream worker's state, and make it again from the archive.

    For a Redis that came back empty, or a state file that was lost: histories, statistics, items
    and users go to the online store again, and the worker continues the log where the archive
    ends. Stop `riverrun up` and other workers before.
    """
    from redis import RedisError

    from feature_repo.archive import Archive
    from feature_repo.event_log import EventLogError
    from riverrun.follower import only_follower
    from riverrun.opening import open_log, open_online, open_state, require_own_shop
    from riverrun.readable_archive import undamaged
    from streaming.rebuild import rebuild as rebuild_state
    from streaming.stream_state import StateError

    settings = load_settings(settings_file, home=home)
    archive = Archive(settings.archive)
    # An archive without events is no error: a young shop's log may still hold all of them.
    if not archive.root.is_dir():
        raise UserError(f"there is no archive to rebuild from: {archive.root} is no folder.")
    with (
        closing(open_log(settings)) as log,
        closing(open_online(settings)) as online,
        only_follower(settings),
        closing(open_state(settings)) as state,
        counting("Rebuilding") as progress,
        undamaged(archive),
    ):
        try:
            require_own_shop(settings, state)
            events = rebuild_state(
                archive,
                state,
                online,
                log,
                settings=settings.streaming,
                max_history=settings.history_length,
                progress=progress,
            )
        except (StateError, EventLogError, RedisError) as error:
            raise failed_by(error) from error
    say(f"{events:,} events of {settings.archive} are in the state again")
