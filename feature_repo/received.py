"""How what was received is repeated in a message."""

from pydantic import BaseModel

SHOWN = 200
"""Characters of a received name or value that a message repeats."""


def shortened(text: str) -> str:
    """Return the text, of a long one its first `SHOWN` characters and "..."."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def described(value: object) -> str:
    """Return the value as Python writes it, shortened; of an object or array what it is."""
    # Written whole it could be as large as the request.
    is_nested = isinstance(value, BaseModel | dict | list)
    return type(value).__name__ if is_nested else shortened(repr(value))
