"""How messages repeat a value that was received."""

from pydantic import BaseModel

SHOWN = 200
"""Characters of a received name or value that a message repeats."""


def shortened(text: str) -> str:
    """Return the text; a long one is cut to `SHOWN` characters and "..."."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def described(value: object) -> str:
    """Return the value as Python writes it, shortened; for an object or array its type."""
    # Written whole it could be as large as the request.
    is_nested = isinstance(value, BaseModel | dict | list)
    return type(value).__name__ if is_nested else shortened(repr(value))
