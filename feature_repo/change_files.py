"""Numbered files of changes by key: of two files with one key, the later counts.

<number>-<segment>.parquet   key, and its record; null where it was deleted

Of files that were merged, the merged one has the last number, and tells the first by its name.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path

import polars as pl

from feature_repo.merging import KEPT, Merged, count_to_merge
from feature_repo.parquet_files import files_holding, parquet_files
from feature_repo.segment_names import (
    LIVE,
    merged_at,
    merged_name,
    replaced_by,
    require_plain,
)
from feature_repo.whole_file import remove_unfinished, replacing

_SCHEMA = {"key": pl.String(), "record": pl.String()}

Changes = Mapping[str, str | None]
"""Keys with their new records; None is a deletion."""


class ChangeFiles:
    """Reads and writes the files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, segment: str, changes: Changes) -> int:
        """Write a segment and return its number of changes; written again, it keeps its place."""
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

    def keys(self) -> list[str]:
        """Return every key whose newest record is no deletion, in order."""
        files = self._files()
        if not files:
            return []
        changes = pl.scan_parquet(files).select("key", there=pl.col("record").is_not_null())
        newest = changes.unique("key", keep="last", maintain_order=True).filter("there")
        return newest.sort("key").collect()["key"].to_list()

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

    def merge(self, now: datetime) -> Merged | None:
        """Merge files written from the log, between which none was imported; None if none is due.

        What they hold is read twice until `remove_merged`.
        """
        for run in self._runs():
            replaced = _replaced(run, now)
            closed = [file for file in run if file not in replaced]
            # An import that began to write before such a file was there may come before it yet.
            while closed and closed[-1].stat().st_mtime > (now - KEPT).timestamp():
                closed.pop()
            sizes = [file.stat().st_size for file in closed]
            for last in range(len(closed), 0, -1):
                if count := count_to_merge(sizes[:last][::-1]):
                    return self._merge(closed[last - count : last], now)
        return None

    def remove_merged(self, now: datetime) -> None:
        """Remove the files that were merged so long ago that no reader has them in hand."""
        remove_unfinished(self._folder, "*.parquet", now - KEPT)
        for run in self._runs():
            for file in _replaced(run, now - KEPT):
                file.unlink()

    def _merge(self, inputs: list[Path], now: datetime) -> Merged:
        first = f"{_range(inputs[0])[0]:09d}"
        name = merged_name([_segment_of(file) for file in inputs], first, now)
        changes = pl.scan_parquet(inputs).unique("key", keep="last", maintain_order=True)
        with replacing(self._folder / f"{_number(inputs[-1]):09d}-{name}.parquet") as file:
            changes.sink_parquet(file)
            rows = pl.scan_parquet(file).select(pl.len()).collect().item()
        return Merged(self._folder.name, len(inputs), rows)

    def _runs(self) -> list[list[Path]]:
        """Return the files written from the log, in lists between which there are imported ones.

        The last is left out: its writer may write it again, and it has to keep its place.
        """
        runs = [
            list(run)
            for live, run in groupby(self._files(), lambda file: _segment_of(file).startswith(LIVE))
            if live
        ]
        return [*runs[:-1], runs[-1][:-1]] if runs else []

    def _files(self) -> list[Path]:
        return parquet_files(self._folder)


def _segment_of(file: Path) -> str:
    return file.stem.partition("-")[2]


def _number(file: Path) -> int:
    return int(file.stem.partition("-")[0])


def _range(file: Path) -> tuple[int, int]:
    """Return the first and the last number of what the file was merged from, or its own twice."""
    first = replaced_by(_segment_of(file))
    return _number(file) if first is None else int(first), _number(file)


def _replaced(run: list[Path], until: datetime) -> list[Path]:
    """Return the files of which another was merged until this time."""
    ranges = [_range(file) for file in run if (at := merged_at(_segment_of(file))) and at <= until]
    return [
        file
        for file in run
        if any(
            first <= _range(file)[0] and _range(file)[1] <= last and _range(file) != (first, last)
            for first, last in ranges
        )
    ]


def _frame(changes: Changes) -> pl.DataFrame:
    return pl.DataFrame({"key": list(changes), "record": list(changes.values())}, schema=_SCHEMA)


def _names_any(files: list[Path], keys: pl.Series) -> bool:
    if not files:
        return False
    found = pl.scan_parquet(files).filter(pl.col("key").is_in(keys.implode())).head(1)
    return not found.collect().is_empty()


def _next_number(files: list[Path]) -> int:
    return max((_number(file) for file in files), default=0) + 1
