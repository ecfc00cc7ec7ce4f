"""`riverrun up`: the whole shop in one process."""

from riverrun.cli.console import say
from riverrun.cli.options import HomeOption, HostOption, PortOption, SettingsOption
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.cli.until_stopped import bind, ended_by, opened_shop, refreshes_of, serve_until
from riverrun.settings import load_settings


def up(
    host: HostOption = None,
    port: PortOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Serve the shop and learn from its events: API, log, worker and stores in one process.

    What is accepted is on disk before it is answered: stop it as you like, and start it again.
    SIGTERM or Ctrl-C closes all it holds within ten seconds; a second one ends it at once. Where it
    cannot learn any more it ends by itself, says why, and returns 1, or 2 where starting it again
    is no help.
    """
    settings = load_settings(settings_file, home=home)
    bound = bind(settings, host, port)
    with opened_shop(settings) as shop:
        say(f"bundle {shop.holder.current.bundle_version} of {settings.home}")
        with refreshes_of(settings, settings_file):
            stopped = stopped_by_signal()
            end_in_time(stopped, shop.stream.worker.metrics.doing, lambda: shop.stream.failure)
            serve_until(ended_by(stopped, shop.stream), shop.app, bound)
    end(shop.stream.failure)
