"""What an import did with every row, by reason, and where the rejected rows went."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import orjson
import polars as pl

LINE = "_line"
REASON = "_reason"
SAME_AGAIN = "the same {} again: the last counts"
"""Why an item or a user is skipped; the name of its id is filled in."""


class RejectsFile:
    """A JSONL file of `{"file", "line", "reason", "row"}`, begun with the first rejected row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] | None = None

    def write(self, file: str, line: int | None, reason: str, row: Any) -> None:
        """Append one rejected row."""
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("wb")
        record = {"file": file, "line": line, "reason": reason, "row": row}
        try:
            written = orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS)
        except TypeError:
            written = json.dumps(record, default=str).encode()  # an integer beyond 64 bits
        self._stream.write(written + b"\n")

    def close(self) -> None:
        """Flush to disk."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


@dataclass
class ImportReport:
    """Counts of rows: `read` = `accepted` + all of `rejected` + all of `skipped`.

    `rejected` rows were unusable and are in the rejects file; `skipped` rows were valid but
    superfluous (duplicates, known already); `repaired` rows were accepted after a change, and
    one row may be repaired for several reasons. `derived` counts records made from rows of another
    kind, such as the items of a file of order lines. `published` counts the items with a
    `published_at`, `removed` the rows that delete an item. `event_types` are those of the events,
    known ones among them. `notes` are shown to the person who started the import.
    """

    read: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    derived: Counter[str] = field(default_factory=Counter)
    published: int = 0
    removed: int = 0
    event_types: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    rejects: RejectsFile | None = None

    def reject(self, file: str, frame: pl.DataFrame) -> None:
        """Count the rows of `frame` by its column `_reason`, and keep them with file and line."""
        if frame.is_empty():
            return
        self.rejected.update(frame[REASON].to_list())
        if self.rejects is not None:
            for row in frame.iter_rows(named=True):
                line, reason = row.pop(LINE), row.pop(REASON)
                self.rejects.write(file, line, reason, row)

    def reject_one(self, file: str, line: int | None, reason: str, row: Any) -> None:
        """Count and keep one row."""
        self.rejected[reason] += 1
        if self.rejects is not None:
            self.rejects.write(file, line, reason, row)

    def skip(self, reason: str, count: int) -> None:
        """Count rows that add nothing."""
        if count:
            self.skipped[reason] += count

    def repair(self, reason: str, count: int) -> None:
        """Count rows that were changed and kept."""
        if count:
            self.repaired[reason] += count

    def note(self, note: str) -> None:
        """Keep a note, once."""
        if note not in self.notes:
            self.notes.append(note)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, the commonest reason first."""
        return {
            "read": self.read,
            "accepted": self.accepted,
            **{
                name: dict(getattr(self, name).most_common())
                for name in ("rejected", "skipped", "repaired", "derived")
            },
        }

    def close(self) -> None:
        """Finish the rejects file."""
        if self.rejects is not None:
            self.rejects.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
