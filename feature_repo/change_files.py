"""Numbered files of changes by key: of two files with one key, the later counts.

<number>-<segment>.parquet   key, and its record; null where it was deleted
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import polars as pl

from feature_repo.parquet_files import files_holding, parquet_files
from feature_repo.segment_names import require_plain
from feature_repo.whole_file import replacing

_SCHEMA = {"key": pl.String(), "record": pl.String()}

Changes = Mapping[str, str | None]
"""Keys with their new records; None is a deletion."""


class ChangeFiles:
    """Reads and writes the files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, segment: str, changes: Changes) -> int:
        """Write a segment, and return how many changes it has; written again, it keeps its place."""
        require_plain(segment)
        files = self._files()
        written = next((file for file in files if _segment_of(file) == segment), None)
        frame = _frame(changes)
        new = self._folder / f"{_next_number(files):09d}-{segment}.parquet"
        with replacing(written or new) as file:
            frame.write_parquet(file)
        return frame.height

    def write_newest(self, segment: str, changes: Changes) -> int:
        """Write a segment whose records are the newest now, even if it was written before.

        It is then written under a new name, SEGMENT.2, so that readers who know the first one
        take it up. Nothing is written where that would change nothing: the records are the same,
        and no later segment has any of the keys. Returns the number of changes.
        """
        require_plain(segment)
        files = self._files()
        own = re.compile(rf"{re.escape(segment)}(\.\d+)?")
        earlier = [place for place, file in enumerate(files) if own.fullmatch(_segment_of(file))]
        frame = _frame(changes)
        if earlier:
            same = pl.read_parquet(files[earlier[-1]]).equals(frame)
            if same and not _names_any(files[earlier[-1] + 1 :], frame["key"]):
                return frame.height
            segment = f"{segment}.{len(earlier) + 1}"
        return self.write(segment, changes)

    def has_any(self) -> bool:
        """Whether any change was ever written."""
        return bool(self._files())

    def segments(self) -> list[str]:
        """Return the names of the segments, in the order they were written."""
        return [_segment_of(file) for file in self._files()]

    def newest(self) -> list[tuple[str, str | None]]:
        """Return every key with its newest record, in order of the key; null is a deletion."""
        files = self._files()
        if not files:
            return []
        changes = pl.scan_parquet(files).unique("key", keep="last", maintain_order=True)
        return changes.sort("key").select("key", "record").collect().rows()

    def newest_of_keys(self, keys: pl.Series) -> pl.DataFrame:
        """Return those of `keys` that any file names, each with its newest record."""
        files = self._files()
        if not files:
            return pl.DataFrame(schema=_SCHEMA)
        found = pl.scan_parquet(files).filter(pl.col("key").is_in(keys.implode()))
        return found.unique("key", keep="last", maintain_order=True).collect()

    def newest_of(self, segments: Collection[str]) -> Iterator[pl.DataFrame]:
        """Yield the changes of these segments whose keys no later one names, the last one first."""
        wanted = {file for file in self._files() if _segment_of(file) in segments}
        later = pl.Series("key", [], pl.String())
        for file in reversed(self._files()):
            if not wanted:
                return
            changes = pl.read_parquet(file, columns=None if file in wanted else ["key"])
            if file in wanted:
                yield changes.filter(~pl.col("key").is_in(later.implode()))
                wanted.remove(file)
            later = pl.concat([later, changes["key"]]).unique()

    def erase(self, keys: Collection[str]) -> None:
        """Remove all changes of these keys for good."""
        erased = pl.Series(list(keys), dtype=pl.String())
        for file in files_holding(self._files(), "key", erased):
            kept = pl.read_parquet(file).filter(~pl.col("key").is_in(erased.implode()))
            with replacing(file) as replacement:
                kept.write_parquet(replacement)

    def _files(self) -> list[Path]:
        return parquet_files(self._folder)


def _segment_of(file: Path) -> str:
    return file.stem.partition("-")[2]


def _frame(changes: Changes) -> pl.DataFrame:
    return pl.DataFrame({"key": list(changes), "record": list(changes.values())}, schema=_SCHEMA)


def _names_any(files: list[Path], keys: pl.Series) -> bool:
    if not files:
        return False
    found = pl.scan_parquet(files).filter(pl.col("key").is_in(keys.implode())).head(1)
    return not found.collect().is_empty()


def _next_number(files: list[Path]) -> int:
    return max((int(file.name.split("-")[0]) for file in files), default=0) + 1
