"""Features as they were at past moments: what training reads, through Feast's point-in-time join.

    features/user_history.parquet   users' histories at past moments, while a join needs them
    features/registry.db            Feast's registry of these files

The join gives each example the newest row that is not later than the example, so that no
training example can see what happened after it.
"""

import warnings
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

import feature_repo.import_feast  # noqa: F401

# isort: split
from feast import FeatureStore, FileSource, RepoConfig

from feature_repo import definitions
from feature_repo.history import DEFAULT_MAX_LENGTH, EVENT_KEY
from feature_repo.shop_file import opening
from feature_repo.whole_file import replacing

CUT_SCHEMA = pl.Schema({"user_id": pl.String(), "timestamp": pl.Datetime("us", "UTC")})
"""A cut is a user and a moment, as of which the user's history is wanted."""
HISTORY_SCHEMA = pl.Schema(
    {
        "timestamps": pl.List(pl.Int64()),
        "event_ids": pl.List(pl.String()),
        "item_ids": pl.List(pl.String()),
        "event_types": pl.List(pl.String()),
        "values": pl.List(pl.Float64()),
    }
)
PAIRS_PER_JOIN = 50_000
"""How many pairs a join may make: it pairs each cut of a user with each earlier row of the user."""


class OfflineFeatures:
    """Feast's offline store over the Parquet files in `folder`: many readers, one writer.

    Raises `ShopFileError` where the registry there is damaged.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._history_file = (folder / "user_history.parquet").absolute()
        config = RepoConfig(
            project="riverrun",
            provider="local",
            # Apart from the online store's registry: a training never writes to a live one.
            registry=str((folder / "registry.db").absolute()),
            offline_store={"type": "duckdb"},
            online_store=None,
            entity_key_serialization_version=3,
        )
        with opening(folder / "registry.db", "Remove it, and the next training makes it again."):
            self._store = FeatureStore(config=config)
            self._store.apply(
                [definitions.user, _over(definitions.user_history, self._history_file)]
            )

    def write_user_histories(
        self, events: pl.DataFrame, cuts: pl.DataFrame, max_length: int = DEFAULT_MAX_LENGTH
    ) -> int:
        """Write the history of each user at each of `cuts`, in place of what was written before.

        The history is what `feature_repo.history.fold` makes of the events until then.

        Args:
            events: the columns of `feature_repo.archive.EVENT_SCHEMA`, in any order. A user's
                events with one id are one event.
            cuts: columns user_id and timestamp.
            max_length: the bound of a history.

        Returns:
            The number of rows: cuts that are the same, or before a user's first event, have none.
        """
        rows = user_histories(events, cuts, max_length)
        with replacing(self._history_file) as file:
            rows.rename({"timestamp": "event_timestamp"}).write_parquet(file)
        return rows.height

    def histories_at(self, cuts: pl.DataFrame) -> pl.DataFrame:
        """Return `cuts` [user_id, timestamp], row by row, with the histories as of then.

        Columns timestamps (int64, microseconds), event_ids, item_ids and event_types are lists,
        oldest first; empty where the user had no history yet.

        Raises:
            FileNotFoundError: no histories were written.
        """
        if not self._history_file.exists():
            raise FileNotFoundError(f"{self._history_file}: write_user_histories was not called.")
        cuts = cuts.select(CUT_SCHEMA.names()).cast(CUT_SCHEMA)
        names = [name for name in HISTORY_SCHEMA if name != "values"]
        distinct = cuts.unique().sort("user_id", "timestamp")
        parts = [self._join(part, names) for part in self._bounded(distinct)]
        joined = pl.concat([_no_histories(names), *parts])
        return cuts.join(
            joined, on=CUT_SCHEMA.names(), how="left", maintain_order="left"
        ).with_columns(pl.col(name).fill_null([]) for name in names)

    def remove_user_histories(self) -> None:
        """Remove the file of histories, and unfinished ones of processes that were killed.

        Users who are erased from now on would stay in it.
        """
        for file in self._history_file.parent.glob(f"*{self._history_file.name}*"):
            file.unlink(missing_ok=True)

    def _join(self, cuts: pl.DataFrame, names: list[str]) -> pl.DataFrame:
        with warnings.catch_warnings():
            # Ibis calls a method that DuckDB has renamed since, and DuckDB says so every time.
            warnings.filterwarnings("ignore", "fetch_arrow_table", DeprecationWarning)
            job = self._store.get_historical_features(
                entity_df=cuts.rename({"timestamp": "event_timestamp"}).to_pandas(),
                features=[f"user_history:{name}" for name in names],
            )
            joined = pl.DataFrame(job.to_arrow())
        return (
            joined.rename({"event_timestamp": "timestamp"})
            .select(*CUT_SCHEMA, *names)
            .cast(_no_histories(names).schema)
        )

    def _bounded(self, cuts: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Split the cuts, sorted by user, so that a part makes about `PAIRS_PER_JOIN` pairs."""
        if cuts.is_empty():
            return
        rows = pl.scan_parquet(self._history_file).group_by("user_id").len("_rows").collect()
        pairs = cuts.join(rows, on="user_id", how="left", maintain_order="left")["_rows"]
        part = pairs.fill_null(0).cum_sum() // PAIRS_PER_JOIN
        yield from cuts.with_columns(_part=part).partition_by("_part", include_key=False)


def user_histories(
    events: pl.DataFrame, cuts: pl.DataFrame, max_length: int = DEFAULT_MAX_LENGTH
) -> pl.DataFrame:
    """Return the distinct `cuts` that have a history, with the columns of `HISTORY_SCHEMA`.

    One pass over sorted columns gives what folding the events of each user one by one until
    each cut would.
    """
    events = (
        events.select(
            "user_id",
            "timestamp",
            "event_id",
            "item_id",
            "event_type",
            pl.col("value").fill_null(0.0),
        )
        .unique(EVENT_KEY, keep="first", maintain_order=True)
        .sort("user_id", "timestamp", "event_id")
    )
    cuts = cuts.select(CUT_SCHEMA.names()).cast(CUT_SCHEMA).unique().sort("user_id", "timestamp")
    order = events.with_row_index("_row").group_by("user_id").agg(first=pl.col("_row").min())
    # The newest event of the user that is not later than the cut.
    located = cuts.join_asof(
        events.with_row_index("_row").select("user_id", "timestamp", "_row"),
        on="timestamp",
        by="user_id",
        strategy="backward",
        check_sortedness=False,
    ).join(order, on="user_id", how="left", maintain_order="left")
    located = located.filter(pl.col("_row").is_not_null())
    end = located["_row"].to_numpy().astype(np.int64) + 1
    start = np.maximum(located["first"].to_numpy().astype(np.int64), end - max_length)
    columns = {
        "timestamps": events["timestamp"].dt.epoch("us"),
        "event_ids": events["event_id"],
        "item_ids": events["item_id"],
        "event_types": events["event_type"],
        "values": events["value"],
    }
    return located.select(CUT_SCHEMA.names()).with_columns(
        _slices(column, start, end).alias(name) for name, column in columns.items()
    )


def _slices(
    column: pl.Series, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> pl.Series:
    """Return the lists column[start[i]:end[i]]."""
    offsets = np.concatenate([[0], np.cumsum(end - start)])
    rows = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], end - start)
    values = column.gather(rows).to_arrow()
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pl.Series(values=lists)


def _no_histories(names: list[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={**CUT_SCHEMA, **{name: HISTORY_SCHEMA[name] for name in names}})


def _over(view: Any, file: Path) -> Any:
    """Return the view over another file than that of its definition."""
    moved = copy(view)
    moved.batch_source = FileSource(
        name=f"{view.name}_file", path=str(file), timestamp_field="event_timestamp"
    )
    return moved
