"""What Feast knows: entities, feature views with their sources, and feature services.

The one file that `feast apply` reads; `.feastignore` keeps it from the others, which it would
import as top-level modules. The Parquet sources lie in `$RIVERRUN_HOME/features` (default:
`.riverrun` where the command runs) and are written by `feature_repo.offline_features`.
"""

import os
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Array, Bool, Float32, Float64, Int64, String

HOME = Path(os.environ.get("RIVERRUN_HOME", ".riverrun"))
FOREVER = timedelta(0)

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def _pushed(name: str) -> PushSource:
    """Return a source that the stream pushes to, with its history in Parquet."""
    history = FileSource(
        name=f"{name}_file",
        path=str((HOME / "features" / f"{name}.parquet").absolute()),
        timestamp_field="event_timestamp",
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
"""What `FeatureStore.apply` is given when Riverrun applies the definitions itself."""
