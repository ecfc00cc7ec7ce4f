"""What there was when a refresh began, for as long as its tries go on with it."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from feature_repo.history import EVENT_KEY
from feature_repo.log_records import decode_record, encode_record
from feature_repo.schema import Item
from feature_repo.whole_file import replacing

_EVENTS_FILE, _ITEMS_FILE = "event-ids.parquet", "items.parquet"


def events_as_begun(events: pl.DataFrame, checkpoints: Path) -> pl.DataFrame:
    """Return those of `events` that there were when the refresh that owns `checkpoints` began.

    Events come at any time. A training that went on with more of them would be part of one training
    and part of another, and would be judged by another slice than its best epoch was chosen by.
    Only their ids are written down, so that what was erased since is not kept.
    """
    file = checkpoints / _EVENTS_FILE
    if file.exists():
        known = pl.read_parquet(file)
        # An earlier version, whose refresh this may go on with, wrote the ids without the users.
        return events.join(known, on=known.columns, how="semi")
    with replacing(file) as unfinished:
        events.select(EVENT_KEY).write_parquet(unfinished)
    return events


def items_as_begun(items: Sequence[Item], checkpoints: Path) -> Sequence[Item]:
    """Return the items that there were when the refresh that owns `checkpoints` began.

    Items come at any time too. A table of embeddings has a row for each, so that no training could
    go on from the kept epochs with other items. Items that were deleted since are kept, unlike
    events that were erased.
    """
    file = checkpoints / _ITEMS_FILE
    if file.exists():
        # Most are as they were, and a large catalogue is not to be in memory twice.
        now = {encode_record(item): item for item in items}
        records = pl.read_parquet(file)["item"]
        return [now.get(record) or decode_record(Item, record) for record in records]
    with replacing(file) as unfinished:
        records = pl.Series("item", map(encode_record, items), pl.Binary)
        records.to_frame().write_parquet(unfinished)
    return items
