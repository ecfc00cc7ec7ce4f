"""An archive in memory, for tests of what is written to one."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from feature_repo.archive import EVENT_SCHEMA
from feature_repo.history import EVENT_KEY
from feature_repo.schema import Item, User


class MemoryEvents:
    def __init__(self) -> None:
        self.segments: dict[str, pl.DataFrame] = {}

    @property
    def frame(self) -> pl.DataFrame:
        empty = pl.DataFrame(schema=EVENT_SCHEMA)
        return pl.concat([empty, *self.segments.values()]).sort("timestamp", "event_id")

    def write(self, segment: str, events: pl.DataFrame) -> int:
        self.segments[segment] = events
        return events.height

    def days(self) -> list[date]:
        return self.frame["timestamp"].dt.date().unique(maintain_order=True).to_list()

    def keys_of(self, day: date) -> pl.DataFrame:
        return self.frame.filter(pl.col("timestamp").dt.date() == day).select(EVENT_KEY)


class MemoryMarks:
    def __init__(self) -> None:
        self.times: dict[str, int] = {}

    def erased_at(self) -> dict[str, int]:
        return dict(self.times)


class MemoryArchive:
    def __init__(self) -> None:
        self.events = MemoryEvents()
        self.marks = MemoryMarks()
        self.item_segments: dict[str, list[Item]] = {}
        self.deleted: set[str] = set()
        self.user_segments: dict[str, list[User]] = {}

    def import_items(self, segment: str, items: Sequence[Item], deleted: Sequence[str]) -> int:
        self.item_segments.pop(segment, None)  # What is written again is the newest.
        self.item_segments[segment] = list(items)
        self.deleted |= set(deleted)
        return len(items) + len(deleted)

    def items_with(self, field: str, item_ids: Sequence[str]) -> int:
        return sum(item.item_id in item_ids and bool(getattr(item, field)) for item in self.items)

    def import_users(self, segment: str, users: Sequence[User]) -> int:
        self.user_segments.pop(segment, None)
        self.user_segments[segment] = list(users)
        return len(users)

    @property
    def items(self) -> list[Item]:
        return [item for items in self.item_segments.values() for item in items]

    @property
    def users(self) -> list[User]:
        return [user for users in self.user_segments.values() for user in users]
