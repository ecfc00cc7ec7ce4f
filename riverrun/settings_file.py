"""Writes settings into a TOML file, and leaves the rest of it as a person has written it."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from feature_repo.whole_file import replacing
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings
from riverrun.settings_variables import PREFIX


def settings_toml(values: Mapping[str, Any], before: str = "") -> str:
    """Return the TOML `before` with these values, by dotted name, as "serving.pool_size"."""
    document = tomlkit.parse(before)
    # A table's own values must come before the tables in it.
    for name, value in sorted(values.items(), key=lambda pair: pair[0].count(".")):
        *parts, last = name.split(".")
        table: Any = document
        for part in parts:
            if part not in table:
                table[part] = tomlkit.table()
            table = table[part]
        table[last] = value
    return tomlkit.dumps(document)


def write_settings(file: Path, values: Mapping[str, Any]) -> None:
    """Put all values or none into the settings file, which is made if there is none.

    Raises `UserError` where the file cannot be read or written, or where the environment has
    another value, which would override the file's.
    """
    try:
        with replacing(file) as unfinished:
            before = file.read_text("utf-8") if file.exists() else ""
            unfinished.write_text(settings_toml(values, before), "utf-8")
            if file.exists():
                shutil.copymode(file, unfinished)
            _check(load_settings(unfinished), values)
    except (OSError, TOMLKitError) as error:
        raise UserError(f"settings file {file}: {error}.") from error


def _check(loaded: Settings, values: Mapping[str, Any]) -> None:
    every = loaded.model_dump(mode="json")
    for name, value in values.items():
        found: Any = every
        for part in name.split("."):
            found = found[part]
        if found != (list(value) if isinstance(value, tuple) else value):
            variable = PREFIX + name.upper().replace(".", "__")
            raise UserError(
                f"{name} = {value} cannot be written: the environment, where {variable} would "
                f"be set, says {found}, and goes before a file."
            )
