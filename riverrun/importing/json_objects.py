"""JSON objects in a column: the context of events, the attributes of items and users."""

from typing import Any

import orjson

from feature_repo.schema import MAX_NESTING, is_shallow
from riverrun.importing.report import ImportReport


def json_object(text: str, what: str, report: ImportReport) -> dict[str, Any] | None:
    """Return the object in `text`; None where it is none or cannot be kept, which is counted.

    what: the word for it in the report.
    """
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        report.repair(f"{what} no JSON object: left out", 1)
        return None
    if not is_shallow(parsed):
        report.repair(f"{what} nested more than {MAX_NESTING} deep: left out", 1)
        return None
    return parsed
