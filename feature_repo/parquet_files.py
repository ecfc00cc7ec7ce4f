"""The Parquet files of a folder, and those of them that hold a key."""

from pathlib import Path

import polars as pl


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
