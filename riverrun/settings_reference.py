"""All settings as a TOML file with their present values and what they mean."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel, SecretStr
from tomlkit.container import Container
from tomlkit.items import Table

from feature_repo.open_online_features import without_password
from riverrun.errors import UserError
from riverrun.settings import Settings

HIDDEN = "**********"


def settings_reference(settings: Settings, part: str = "") -> str:
    """Return TOML of the settings, or of a part such as `serving.ranking`, with its meaning.

    A value that is not the default is followed by the default; unset values and secrets are
    comments. All else, read as a settings file, gives the same settings.

    Raises:
        UserError: there is no such part; the message names the existing ones.
    """
    document = tomlkit.document()
    within: Container | Table = document
    model: BaseModel = settings
    default: BaseModel = Settings.model_construct()
    names = part.split(".") if part else []
    for depth, name in enumerate(names):
        parts = dict(_parts(model))
        if name not in parts:
            prefix = "".join(f"{each}." for each in names[:depth])
            known = ", ".join(f"{prefix}{each}" for each in parts) or "none"
            raise UserError(f"{part} is no part of the settings. There: {known}.")
        model, default = parts[name], getattr(default, name)
        table = tomlkit.table(is_super_table=depth + 1 < len(names))
        within[name] = table
        within = table
    _fill(within, model, default)
    return tomlkit.dumps(document).rstrip() + "\n"


def _fill(table: Container | Table, model: BaseModel, default: BaseModel) -> None:
    """Put the model's docstring, its values and then its parts into the table."""
    for line in inspect.cleandoc(meaning(type(model))).splitlines():
        table.add(tomlkit.comment(line))
    parts = dict(_parts(model))
    values: Mapping[str, Any] = model.model_dump(mode="json")
    rows = []
    for name in type(model).model_fields:
        if name in parts:
            continue
        value = getattr(model, name)
        if value is None:
            table.add(tomlkit.comment(f"{name} is unset"))
        elif isinstance(value, SecretStr) or _has_password(value):
            table.add(tomlkit.comment(f"{name} = {HIDDEN}"))
        elif isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
            rows.append(name)
        else:
            table[name] = _value(values[name])
            if value != (usual := getattr(default, name)):
                table[name].comment(f"default: {_as_toml(usual)}")
    for name in rows:
        table[name] = tomlkit.aot()
        for each in values[name]:
            table[name].append(tomlkit.item(_without_none(each)))
    for name, each in parts.items():
        table[name] = tomlkit.table()
        _fill(table[name], each, getattr(default, name))


def meaning(model: type[BaseModel]) -> str:
    """Return the docstring of the settings, or else that of a base class."""
    return next((each.__doc__ for each in model.__mro__ if each.__doc__), "")


def _parts(model: BaseModel) -> Iterator[tuple[str, BaseModel]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield name, value


def _as_toml(default: Any) -> str:
    if default is None:
        return "unset"
    if isinstance(default, Path):
        default = str(default)
    return str(_value(list(default) if isinstance(default, tuple) else default).as_string())


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        inline.update(value)
        return inline
    return tomlkit.item(value)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return value


def _has_password(value: Any) -> bool:
    return isinstance(value, str) and without_password(value) != value
