"""Events, items and users as JSON in the log: versions, and fields of newer versions.

A record without a `version` was written before records had one: it is of version 0. An old record
is upgraded when it is read. Of a newer one the known fields are read; the others are kept in the
record and written again with it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json

from feature_repo.schema import SCHEMA_VERSION, Event, Item, User

Document = dict[str, Any]
RecordT = TypeVar("RecordT", bound=BaseModel)

UPGRADES: Mapping[int, Callable[[Document], Document]] = {
    # Version 1 only gave the version a name.
    0: lambda document: document,
}
"""From each version before `SCHEMA_VERSION` to the next."""

_VERSION = "version"


def encode_record(record: Event | Item | User) -> bytes:
    """Return the record as JSON with its version."""
    body = record.model_dump_json(exclude_defaults=True).encode()
    if _VERSION in (record.model_extra or {}):
        return body
    return b'{"%s":%d,%s' % (_VERSION.encode(), SCHEMA_VERSION, body[1:])


def decode_record(model: type[RecordT], value: bytes | str) -> RecordT:
    """Return the record in `value`.

    Raises `ValueError` where it is no JSON object or its version is none, and pydantic's
    `ValidationError`, which is one, where a known field is not valid.
    """
    try:
        document = from_json(value)
    except ValueError as error:
        raise ValueError(f"Invalid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ValueError(f"a record must be a JSON object. Received: {type(document).__name__}.")
    return model.model_validate(upgrade(document))


def upgrade(
    document: Document,
    current: int = SCHEMA_VERSION,
    upgrades: Mapping[int, Callable[[Document], Document]] = UPGRADES,
) -> Document:
    """Return `document` as version `current` has it; a newer one as it is, version included.

    Raises `ValueError` for a version that is no whole number from 0.
    """
    version = document.get(_VERSION, 0)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise ValueError(f"`version` must be a whole number from 0. Received: {version!r}.")
    if version > current:
        return document
    upgraded = {name: value for name, value in document.items() if name != _VERSION}
    for step in range(version, current):
        upgraded = upgrades[step](upgraded)
    return upgraded


def json_schema(model: type[BaseModel]) -> Document:
    """Return the JSON Schema of the records of one topic."""
    schema = TypeAdapter(model).json_schema()
    version = {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": f"The version of this schema that the record follows; now {SCHEMA_VERSION}.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "properties": {_VERSION: version, **schema["properties"]},
    }
