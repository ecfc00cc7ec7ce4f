"""Names of segments: what one writer writes at once.

log-<topic>-<partition>-<moment>-<first offset>-<end>   written from the log
log-merged-<time>-<what it replaces>-<end>              what several of those were merged into
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime

LIVE = "log-"
"""How the names of segments begin that were written from the log and not by an import."""
_SEGMENT = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_MERGED = re.compile(rf"{LIVE}merged-(\d{{15}})-([0-9a-f]+)-\d{{20}}")


def require_plain(segment: str) -> str:
    """Return the name. Raises `ValueError` where it cannot be that of a file."""
    if not _SEGMENT.fullmatch(segment) or segment.startswith("."):
        raise ValueError(
            f"`segment` must be 1..200 letters, digits, '_', '.' and '-'. Received: {segment!r}."
        )
    return segment


def end_of(segment: str) -> int:
    """Return the offset after the last record of a segment that was written from the log."""
    return int(segment.rpartition("-")[2])


def merged_name(segments: Collection[str], replaced: str, now: datetime) -> str:
    """Return a name for what these segments are merged into; its end is the largest of theirs.

    replaced: hexadecimal digits that tell what it replaces.
    """
    end = max(end_of(segment) for segment in segments)
    milliseconds = int(now.timestamp() * 1_000)
    return f"{LIVE}merged-{milliseconds:015d}-{replaced}-{end:020d}"


def merged_at(segment: str) -> datetime | None:
    """Return when a segment was merged from others; None of one that was written."""
    found = _MERGED.fullmatch(segment)
    return datetime.fromtimestamp(int(found[1]) / 1_000, UTC) if found else None


def replaced_by(segment: str) -> str | None:
    """Return what `merged_name` was told of what is replaced; None of one that was written."""
    found = _MERGED.fullmatch(segment)
    return found[2] if found else None
