"""Numbered files of changes by key: of two files with one key, the later counts.

<number>-<segment>.parquet   key, and its record; null where it was deleted
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import polars as pl

from feature_repo.whole_file import replacing

_SCHEMA = {"key": pl.String(), "record": pl.String()}

Changes = Mapping[str, str | None]
"""Keys with their new records; None is a deletion."""


def parquet_files(folder: Path) -> list[Path]:
    """Return the complete files of a folder, in the order of their names."""
    # A name that starts with a dot is a file that its writer did not finish.
    return sorted(folder.glob("[!.]*.parquet"))


def files_holding(files: list[Path], column: str, keys: pl.Series) -> list[Path]:
    """Return the Parquet files whose `column` has any of the keys; no other column is read."""
    if not files:
        return []
    scan = pl.scan_parquet(
        files,
        schema={column: pl.String()},
        extra_columns="ignore",
        hive_partitioning=False,
        include_file_paths="_file",
    )
    found = scan.filter(pl.col(column).is_in(keys.implode())).select("_file").unique()
    return sorted(Path(file) for file in found.collect()["_file"])


def segment_of(file: Path) -> str:
    """Return the name of the segment that a file of changes holds."""
    return file.stem.partition("-")[2]


def write_changes(folder: Path, segment: str, changes: Changes) -> int:
    """Write a segment; one that is written again keeps its place. Return the number of changes."""
    files = parquet_files(folder)
    written = next((file for file in files if segment_of(file) == segment), None)
    frame = _frame(changes)
    with replacing(written or folder / f"{_next_number(files):09d}-{segment}.parquet") as file:
        frame.write_parquet(file)
    return frame.height


def write_newest(folder: Path, segment: str, changes: Changes) -> int:
    """Write a segment whose records are the newest now, even if it was written before.

    It is then written under a new name, SEGMENT.2, so that readers who know the first one take it
    up. Nothing is written where that would change nothing: the records are the same, and no later
    segment has any of the keys. Returns the number of changes.
    """
    files = parquet_files(folder)
    own = re.compile(rf"{re.escape(segment)}(\.\d+)?")
    earlier = [place for place, file in enumerate(files) if own.fullmatch(segment_of(file))]
    frame = _frame(changes)
    if earlier:
        same = pl.read_parquet(files[earlier[-1]]).equals(frame)
        if same and not _names_any(files[earlier[-1] + 1 :], frame["key"]):
            return frame.height
        segment = f"{segment}.{len(earlier) + 1}"
    return write_changes(folder, segment, changes)


def newest_changes(folder: Path) -> list[tuple[str, str | None]]:
    """Return every key with its newest record, in order of the key; null is a deletion."""
    files = parquet_files(folder)
    if not files:
        return []
    changes = pl.scan_parquet(files).unique("key", keep="last", maintain_order=True)
    return changes.sort("key").select("key", "record").collect().rows()


def newest_of_keys(folder: Path, keys: pl.Series) -> pl.DataFrame:
    """Return those of `keys` that any file names, each with its newest record."""
    files = parquet_files(folder)
    if not files:
        return pl.DataFrame(schema=_SCHEMA)
    found = pl.scan_parquet(files).filter(pl.col("key").is_in(keys.implode()))
    return found.unique("key", keep="last", maintain_order=True).collect()


def newest_of(folder: Path, segments: Collection[str]) -> Iterator[pl.DataFrame]:
    """Yield the changes of these segments whose keys no later segment names, the last one first."""
    wanted = {file for file in parquet_files(folder) if segment_of(file) in segments}
    later = pl.Series("key", [], pl.String())
    for file in reversed(parquet_files(folder)):
        if not wanted:
            return
        changes = pl.read_parquet(file, columns=None if file in wanted else ["key"])
        if file in wanted:
            yield changes.filter(~pl.col("key").is_in(later.implode()))
            wanted.remove(file)
        later = pl.concat([later, changes["key"]]).unique()


def _frame(changes: Changes) -> pl.DataFrame:
    return pl.DataFrame({"key": list(changes), "record": list(changes.values())}, schema=_SCHEMA)


def _names_any(files: list[Path], keys: pl.Series) -> bool:
    if not files:
        return False
    found = pl.scan_parquet(files).filter(pl.col("key").is_in(keys.implode())).head(1)
    return not found.collect().is_empty()


def _next_number(files: list[Path]) -> int:
    return max((int(file.name.split("-")[0]) for file in files), default=0) + 1
