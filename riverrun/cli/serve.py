"""`riverrun serve`: a replica that answers, beside a worker that learns."""

from riverrun.cli.options import HomeOption, HostOption, PortOption, SettingsOption
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.cli.until_stopped import bind, serve_until
from riverrun.interpreter import FEAST, HTTP, freeze_modules
from riverrun.served_bundle import require_bundle
from riverrun.settings import load_settings


def serve(
    host: HostOption = None,
    port: PortOption = None,
    home: HomeOption = None,
    settings_file: SettingsOption = None,
) -> None:
    """Answer requests from the current bundle, the item changelog and the online store.

    Events are accepted into the log; a worker in another process applies them (`riverrun stream`,
    or `riverrun up` beside an embedded log).
    SIGTERM or Ctrl-C closes all it holds within ten seconds; a second one ends it at once.
    """
    settings = load_settings(settings_file, home=home)
    require_bundle(settings)
    bound = bind(settings, host, port)
    from riverrun.server import serving_replica

    freeze_modules(*FEAST, *HTTP)
    with serving_replica(settings) as app:
        stopped = stopped_by_signal()
        end_in_time(stopped, {})
        serve_until(stopped.is_set, app, bound)
    end(None)
