"""The native columns of events, items and users as Polars frames.

These are the fields of `feature_repo.schema`. A mapping (`context`, `attributes`) is held as
JSON text, so that a frame has the same columns whatever the mapping holds.
"""

from collections.abc import Iterator
from typing import Any

import orjson
import polars as pl

from feature_repo.schema import Item, User

TIMESTAMP = pl.Datetime("us", "UTC")

EVENT_COLUMNS: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "user_id": pl.String(),
    "item_id": pl.String(),
    "event_type": pl.String(),
    "timestamp": TIMESTAMP,
    "value": pl.Float64(),
    "query": pl.String(),
    "request_id": pl.String(),
    "context": pl.String(),
}
ITEM_COLUMNS: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "description": pl.String(),
    "categories": pl.List(pl.String()),
    "brand": pl.String(),
    "price": pl.Float64(),
    "tags": pl.List(pl.String()),
    "attributes": pl.String(),
    "available": pl.Boolean(),
    "published_at": TIMESTAMP,
}
USER_COLUMNS: dict[str, pl.DataType] = {"user_id": pl.String(), "attributes": pl.String()}


def event_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Return `frame` with exactly the native event columns; absent ones are null."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in EVENT_COLUMNS.items()
    )


def items_of(frame: pl.DataFrame) -> Iterator[Item]:
    """Yield a validated `Item` for each row of native item columns; nulls are left out."""
    for row in frame.iter_rows(named=True):
        yield Item.model_validate(_present(row))


def users_of(frame: pl.DataFrame) -> Iterator[User]:
    """Yield a validated `User` for each row of native user columns."""
    for row in frame.iter_rows(named=True):
        yield User.model_validate(_present(row))


def _present(row: dict[str, Any]) -> dict[str, Any]:
    present = {name: value for name, value in row.items() if value is not None}
    if "attributes" in present:
        present["attributes"] = orjson.loads(present["attributes"])
    return present
