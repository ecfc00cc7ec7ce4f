"""What Feast knows: entities, feature views with their sources, and feature services.

This is the one file that `feast apply` reads; `.feastignore` lists the others, which it would
import as top-level modules.

The views' Parquet sources lie in `offline` of the shop's folder: `$RIVERRUN_HOME`, or that of
`feature_store.yaml`. They have no rows, unless you write some (infra/docs/feast.md): the online
store is what the stream keeps up to date, and Feast's SQLite store would let `feast materialize`
put an older row over a newer one.
"""

import os
from collections.abc import Sequence
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Array, Bool, Float32, Float64, Int64, String, from_feast_to_pyarrow_type

HOME = Path(os.environ.get("RIVERRUN_HOME") or Path(__file__).resolve().parents[1] / ".riverrun")
TIMESTAMP_FIELD = "event_timestamp"
FOREVER = timedelta(0)

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def _pushed(name: str, home: Path = HOME) -> PushSource:
    """Return a source that the stream pushes to, with its history in Parquet."""
    history = FileSource(
        name=f"{name}_file",
        # Feast's DuckDB store takes a relative path from where the command runs.
        path=str((home / "offline" / f"{name}.parquet").absolute()),
        timestamp_field=TIMESTAMP_FIELD,
    )
    return PushSource(name=f"{name}_push", batch_source=history)


user_profile = FeatureView(
    name="user_profile",
    entities=[user],
    ttl=FOREVER,
    schema=[Field(name="attributes", dtype=String, description="JSON object")],
    source=_pushed("user_profile"),
)

user_history = FeatureView(
    name="user_history",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(name="timestamps", dtype=Array(Int64), description="microseconds, ascending"),
        Field(name="event_ids", dtype=Array(String)),
        Field(name="item_ids", dtype=Array(String)),
        Field(name="event_types", dtype=Array(String)),
        Field(name="values", dtype=Array(Float64)),
    ],
    source=_pushed("user_history"),
)

user_embedding = FeatureView(
    name="user_embedding",
    entities=[user],
    ttl=FOREVER,
    schema=[
        Field(name="vector", dtype=Array(Float32), description="query embedding"),
        Field(name="bundle_version", dtype=String),
        Field(name="history_timestamp", dtype=Int64, description="microseconds"),
        Field(name="left_out", dtype=Array(String), description="items without an embedding"),
    ],
    source=_pushed("user_embedding"),
)

item_profile = FeatureView(
    name="item_profile",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(name="title", dtype=String),
        Field(name="description", dtype=String),
        Field(name="categories", dtype=Array(String), description="general to specific"),
        Field(name="brand", dtype=String),
        Field(name="price", dtype=Float64),
        Field(name="tags", dtype=Array(String)),
        Field(name="attributes", dtype=String, description="JSON object"),
        Field(name="available", dtype=Bool),
        Field(name="published_at", dtype=Int64, description="microseconds"),
    ],
    source=_pushed("item_profile"),
)

item_statistics = FeatureView(
    name="item_statistics",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(name="as_of", dtype=Int64, description="microseconds"),
        Field(name="event_types", dtype=Array(String)),
        Field(name="hour", dtype=Array(Float64), description="decayed count by event type"),
        Field(name="day", dtype=Array(Float64)),
        Field(name="week", dtype=Array(Float64)),
    ],
    source=_pushed("item_statistics"),
)

co_visitation = FeatureView(
    name="co_visitation",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(name="as_of", dtype=Int64, description="microseconds"),
        Field(name="neighbour_ids", dtype=Array(String), description="heaviest first"),
        Field(name="weights", dtype=Array(Float64), description="decayed, by neighbour"),
    ],
    source=_pushed("co_visitation"),
)

item_embedding = FeatureView(
    name="item_embedding",
    entities=[item],
    ttl=FOREVER,
    schema=[
        Field(name="vector", dtype=Array(Float32), description="candidate embedding"),
        Field(name="bundle_version", dtype=String),
    ],
    source=_pushed("item_embedding"),
)

retrieval = FeatureService(name="retrieval", features=[user_history, user_embedding])

ranking = FeatureService(
    name="ranking", features=[user_profile, user_history, item_profile, item_statistics]
)

ALL = [
    user,
    item,
    user_profile,
    user_history,
    user_embedding,
    item_profile,
    item_statistics,
    co_visitation,
    item_embedding,
    retrieval,
    ranking,
]


def of_shop(home: Path) -> list[Any]:
    """Return `ALL` with its sources in the shop's folder `home`.

    Riverrun gives it to `FeatureStore.apply` when it applies the definitions itself.
    """
    return [_moved(part, home) if isinstance(part, FeatureView) else part for part in ALL]


def write_missing_sources(definitions: Sequence[Any]) -> None:
    """Write a file without rows for each view whose source is not there."""
    for view in definitions:
        if isinstance(view, FeatureView) and not Path(view.batch_source.path).exists():
            _write_without_rows(view)


def _moved(view: FeatureView, home: Path) -> FeatureView:
    moved = copy(view)
    moved.stream_source = _pushed(view.name, home)
    moved.batch_source = moved.stream_source.batch_source
    return moved


def _write_without_rows(view: FeatureView) -> None:
    keys = [entity.join_key for entity in (user, item) if entity.name in view.entities]
    columns = {TIMESTAMP_FIELD: pa.timestamp("us", "UTC"), **dict.fromkeys(keys, pa.string())}
    columns |= {field.name: from_feast_to_pyarrow_type(field.dtype) for field in view.features}
    file = Path(view.batch_source.path)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Beside it first: another process may read, or write, the file at the same time.
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(pa.schema(columns.items()).empty_table(), unfinished)
    unfinished.replace(file)


if not __package__:
    # Imported by `feast apply`, as a top-level module.
    write_missing_sources(ALL)
