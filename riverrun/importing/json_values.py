"""JSON in files and columns, exact to the last digit: orjson would make long integers floats."""

import json
from typing import Any

import orjson
from pydantic_core import from_json

from feature_repo.schema import MAX_NESTING, is_shallow
from riverrun.importing.report import ImportReport

MAX_BYTES = 64 << 10
"""Of a context, or of all attributes together: a log takes records of limited size."""
_LONG = b"0" * 19
"""An integer of as many digits may be more than 64 bits."""
_ZEROS = bytes.maketrans(b"123456789", b"000000000")


def load_json(text: str | bytes) -> Any:
    """Return the value of JSON text. Raises `ValueError` for invalid JSON."""
    raw = text.encode() if isinstance(text, str) else text
    return (
        from_json(raw, allow_inf_nan=False) if _LONG in raw.translate(_ZEROS) else orjson.loads(raw)
    )


def dump_json(value: Any) -> str:
    """Return a value as JSON text. Raises `RecursionError` where it is nested absurdly deep.

    What JSON has no type for, as a decimal of Parquet, becomes text.
    """
    try:
        return orjson.dumps(value, default=str).decode()
    except TypeError:
        # A longer integer than it knows, or nested deeper than it writes, though not than it reads.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def plain_text(value: Any) -> str:
    """Return a value of JSON or of a column as text: 2, not 2.0; nested values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53:
        return str(int(value))
    return dump_json(value) if isinstance(value, bool | dict | list) else str(value)


def json_object(text: str, what: str, report: ImportReport) -> dict[str, Any] | None:
    """Return the JSON object in `text`; None, counted, where it is none or cannot be kept.

    what: what the report calls it.
    """
    try:
        parsed = load_json(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        report.repair(f"{what} no JSON object: left out", 1)
        return None
    if not is_shallow(parsed):
        report.repair(f"{what} nested more than {MAX_NESTING} deep: left out", 1)
        return None
    return parsed
