"""Names of segments: what one writer writes at once."""

import re

_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def require_plain(segment: str) -> str:
    """Return the name. Raises `ValueError` where it cannot be that of a file."""
    if not _SEGMENT.fullmatch(segment) or segment.startswith("."):
        raise ValueError(
            f"`segment` must be 1..200 letters, digits, '_', '.' and '-'. Received: {segment!r}."
        )
    return segment
