"""Variables of the environment: which are settings, and what is said of one that cannot be."""

import os
import re

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from feature_repo.received import shortened
from riverrun.errors import UserError

PREFIX = "RIVERRUN_"
# Read elsewhere: by the tests and the command line, not as settings.
NOT_SETTINGS = ("RIVERRUN_TEST_", "RIVERRUN_FUZZ_", "RIVERRUN_SETTINGS")
# Kubernetes tells every pod of each Service of the namespace. One named `riverrun`, or `riverrun-`
# and more, has these, and RIVERRUN_PORT=tcp://10.0.0.1:8080.
_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")


def no_json(settings: type[BaseSettings], error: SettingsError) -> str:
    """Name the variable that was to be a list or a table; pydantic names only its first field."""
    source = EnvSettingsSource(settings)
    given = {name: value for name, value in source.env_vars.items() if value is not None}
    for name, value in given.items():
        source.env_vars = {name: value}
        try:
            source()
        except SettingsError:
            return (
                f'environment variable {name.upper()}: must be JSON, as ["one", "two"] or '
                f'{{"key": 1}}. Received: {shortened(value)!r}.'
            )
    return f"environment variables {PREFIX}*: {error}."


def refuse_unknown_variables(settings: type[BaseSettings]) -> None:
    """Raise `UserError` for a variable that begins as settings do and is none of `settings`."""
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(PREFIX) or name.startswith(NOT_SETTINGS):
            continue
        if _is_service_link(name, os.environ[variable]):
            continue
        field = name.removeprefix(PREFIX).split("__")[0].lower()
        if field not in settings.model_fields:
            known = ", ".join(f"{PREFIX}{key.upper()}" for key in sorted(settings.model_fields))
            raise UserError(f"environment variable {variable} is no setting. Known: {known}.")


def _is_service_link(name: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(name):
        return True
    return name.endswith("_PORT") and _SERVICE_URL.fullmatch(value) is not None
