"""The events and the catalogue as the columns that training reads."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import structlog

from feature_repo.history import EVENT_KEY
from feature_repo.schema import Item
from feature_repo.times import moment_of
from trainer.training_input_error import TrainingInputError

EVENT_COLUMNS = ("event_id", "user_id", "item_id", "event_type", "timestamp")
"""All that training and evaluation read of `feature_repo.schema.Event`."""


@dataclass(frozen=True, slots=True, eq=False)
class Interactions:
    """Events sorted by (user, timestamp, event_id), with users, items and types as indices.

    user, item, event_type: int32 [num_events], into `user_ids`, `items` and `event_types`.
    timestamp: int64 [num_events], microseconds since 1970 UTC.
    first_event: int64 [num_users + 1]; user u's events are first_event[u]:first_event[u + 1].
    """

    user_ids: Sequence[str]
    items: Sequence[Item]
    event_types: Sequence[str]
    user: npt.NDArray[np.int32]
    item: npt.NDArray[np.int32]
    event_type: npt.NDArray[np.int32]
    timestamp: npt.NDArray[np.int64]
    first_event: npt.NDArray[np.int64]

    @property
    def end(self) -> datetime:
        """The moment of the newest event."""
        newest = int(self.timestamp.max()) if len(self.timestamp) else 0
        return moment_of(newest)

    @property
    def start(self) -> datetime:
        """The moment of the oldest event."""
        oldest = int(self.timestamp.min()) if len(self.timestamp) else 0
        return moment_of(oldest)

    def is_of(self, types: Collection[str]) -> npt.NDArray[np.bool_]:
        """Return bool [num_events], which events are of one of these types."""
        return np.array([name in types for name in self.event_types], np.bool_)[self.event_type]

    def without(self, types: Collection[str]) -> "Interactions":
        """Return the events of other types alone, of the same users and items."""
        if not types:
            return self
        kept = ~self.is_of(types)
        user = self.user[kept]
        return replace(
            self,
            user=user,
            item=self.item[kept],
            event_type=self.event_type[kept],
            timestamp=self.timestamp[kept],
            first_event=np.searchsorted(user, np.arange(len(self.user_ids) + 1)).astype(np.int64),
        )

    def digest(self) -> str:
        """Return a hash of all events; items are hashed by index, whatever their ids."""
        digest = hashlib.sha256("\0".join(self.user_ids).encode("utf-8", "surrogatepass"))
        digest.update("\0".join(self.event_types).encode("utf-8", "surrogatepass"))
        for column in (self.first_event, self.item, self.event_type, self.timestamp):
            digest.update(column.tobytes())
        return digest.hexdigest()

    @classmethod
    def from_frame(cls, events: pl.DataFrame, items: Sequence[Item]) -> "Interactions":
        """Index `events` (columns `EVENT_COLUMNS`, and any others) over the catalogue `items`.

        Events on items that are not in the catalogue are left out, since such items cannot be
        embedded. A user's events with the same id count as one event.
        """
        item_index = {item.item_id: index for index, item in enumerate(items)}
        events = (
            events.select(EVENT_COLUMNS)
            .filter(
                pl.col("item_id").is_in(pl.Series(item_index.keys(), dtype=pl.String).implode())
            )
            .unique(EVENT_KEY, keep="first")
            .sort("user_id", "timestamp", "event_id")
        )
        user_ids, user = _numbered(events["user_id"])
        event_types, event_type = _numbered(events["event_type"])
        indices = [item_index[item_id] for item_id in events["item_id"]]
        return cls(
            user_ids=user_ids,
            items=items,
            event_types=event_types,
            user=user,
            item=np.array(indices, dtype=np.int32),
            event_type=event_type,
            timestamp=events["timestamp"].dt.epoch("us").to_numpy().astype(np.int64),
            first_event=np.searchsorted(user, np.arange(len(user_ids) + 1)).astype(np.int64),
        )

    def with_users(self, user_ids: Iterable[str]) -> "Interactions":
        """Return the same events with more users: those of `user_ids`, new ones without events."""
        every = sorted({*self.user_ids, *user_ids})
        row = {user_id: index for index, user_id in enumerate(every)}
        moved = np.array([row[user_id] for user_id in self.user_ids], dtype=np.int32)
        user = moved[self.user]
        first_event = np.searchsorted(user, np.arange(len(every) + 1)).astype(np.int64)
        return replace(self, user_ids=every, user=user, first_event=first_event)

    def frame(self) -> pl.DataFrame:
        """Return the events as `from_frame` reads them, with their positions as ids."""
        numbers = pl.int_range(len(self.item), eager=True)
        columns = {
            "event_id": numbers.cast(pl.String).str.zfill(12),
            "user_id": _strings(self.user_ids).gather(self.user),
            "item_id": _strings([item.item_id for item in self.items]).gather(self.item),
            "event_type": _strings(self.event_types).gather(self.event_type),
            "timestamp": self.timestamp,
        }
        return pl.DataFrame(columns).with_columns(
            pl.from_epoch("timestamp", "us").dt.replace_time_zone("UTC"), value=pl.lit(0.0)
        )


def happened_by(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return `without_later(events, now)`, for whoever learns from them or asks about them.

    Raises:
        TrainingInputError: there are events, and none has happened.
    """
    if not events.is_empty() and not (events["timestamp"] <= now).any():
        raise TrainingInputError(
            f"all {events.height:,} events are later than {now:%Y-%m-%d %H:%M:%S} UTC. Is this "
            "machine's clock right?"
        )
    return without_later(events, now)


def without_later(events: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Return the events that have happened by `now`; the log says how many have not.

    A client whose clock is ahead sends such. One of them would end the data window of a bundle,
    and whatever happened before its time would count as seen by the bundle; and the newest slice,
    by which models are judged, would be of times to come.
    """
    happened = events.filter(pl.col("timestamp") <= now)
    if waiting := events.height - happened.height:
        reason = (
            f"{waiting:,} of {events.height:,} events are later than {now:%Y-%m-%d %H:%M:%S} UTC, "
            "by a clock that is ahead: a refresh after their time learns from them."
        )
        structlog.get_logger(__name__).warning("events_wait", reason=reason)
    return happened


def _strings(values: Sequence[str]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def _numbered(column: pl.Series) -> tuple[list[str], npt.NDArray[np.int32]]:
    """Return the distinct strings, in order, and the place of each row's among them."""
    names = column.unique().sort()
    return names.to_list(), column.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int32)
