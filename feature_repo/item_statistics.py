"""Decayed counts of what happens to an item, per event type, over an hour, a day and a week.

Forward decay (Cormode, Shkapenyuk, Srivastava, Xu: "Forward Decay: A Practical Time Decay
Model for Streaming Systems", ICDE 2009): an event's weight depends on its own time and a
landmark, never on when it was read. With exponential decay the landmark may move without a
change of the ratios, so it is the item's newest event: numbers stay small, a late event weighs
what it would have weighed in time, and a replay gives the same counts.

An event whose own time is later than when the log took it counts as of the latter (`counted_at`): a
client whose clock is a day ahead would otherwise make one event worth e^24 within the hour.

Of an item's event types those are kept that weigh anything, and of them the heaviest: clients may
send types without end, and every event of the item copies its counts.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

import polars as pl

from feature_repo.online_features import ItemStatistics
from feature_repo.times import DAY, HOUR, WEEK

MAX_TYPES = 64
"""Of how many event types an item has counts: the heaviest of the week, of equal ones by name."""
NEGLIGIBLE = 1e-9
"""A type whose count of the week is less, 21 weeks after its only event, is forgotten."""


def count(statistics: ItemStatistics, event_type: str, timestamp: int) -> ItemStatistics:
    """Return `statistics` with one more event at `timestamp`, microseconds since 1970 UTC.

    The same as a merge with the statistics of that event alone, but faster: it is called for every
    event of the stream.
    """
    before = at(statistics, timestamp)
    late = max(before.timestamp - timestamp, 0)
    if math.exp(-late / WEEK) < NEGLIGIBLE:
        return before
    place = bisect_left(before.event_types, event_type)
    known = place < len(before.event_types) and before.event_types[place] == event_type
    behind = place + 1 if known else place

    def with_one(counts: tuple[float, ...], window: int) -> tuple[float, ...]:
        weight = math.exp(-late / window) if late else 1.0
        own = counts[place] + weight if known else weight
        return (*counts[:place], own, *counts[behind:])

    after = ItemStatistics(
        before.item_id,
        max(before.timestamp, timestamp),
        before.event_types
        if known
        else (*before.event_types[:place], event_type, *before.event_types[place:]),
        with_one(before.hour, HOUR),
        with_one(before.day, DAY),
        with_one(before.week, WEEK),
    )
    return _heaviest(after)


def counted_at(timestamp: int, appended_at: int | None) -> int:
    """Return as of when an event counts, in microseconds since 1970 UTC.

    timestamp: the event's, in microseconds. appended_at: `LogRecord.appended_at`.
    """
    return timestamp if appended_at is None else min(timestamp, appended_at * 1_000)


def merge(left: ItemStatistics, right: ItemStatistics) -> ItemStatistics:
    """Return the counts of both, as of the newer one's `timestamp`.

    Raises `ValueError` where they describe two items.
    """
    if left.item_id != right.item_id:
        raise ValueError(
            f"`right` must describe item {left.item_id!r}. Received: {right.item_id!r}."
        )
    left, right = at(left, right.timestamp), at(right, left.timestamp)
    types, hour, day, week = (
        list(left.event_types), list(left.hour), list(left.day), list(left.week)
    )  # fmt: skip
    for column, event_type in enumerate(right.event_types):
        place = bisect_left(types, event_type)
        if place == len(types) or types[place] != event_type:
            types.insert(place, event_type)
            for counts in (hour, day, week):
                counts.insert(place, 0.0)
        hour[place] += right.hour[column]
        day[place] += right.day[column]
        week[place] += right.week[column]
    merged = ItemStatistics(
        left.item_id, left.timestamp, tuple(types), tuple(hour), tuple(day), tuple(week)
    )
    return _heaviest(merged)


def at(statistics: ItemStatistics, timestamp: int) -> ItemStatistics:
    """Return the counts as of a later `timestamp`; an earlier one changes nothing.

    Without the types that do not weigh anything by then.
    """
    age = timestamp - statistics.timestamp
    if age <= 0:
        return statistics
    decayed = ItemStatistics(
        statistics.item_id,
        timestamp,
        statistics.event_types,
        _decayed(statistics.hour, age / HOUR),
        _decayed(statistics.day, age / DAY),
        _decayed(statistics.week, age / WEEK),
    )
    if min(decayed.week, default=1.0) >= NEGLIGIBLE:
        return decayed
    return _only(
        decayed, [place for place, count in enumerate(decayed.week) if count >= NEGLIGIBLE]
    )


def nothing(item_id: str) -> ItemStatistics:
    """Return the statistics of an item nothing has happened to."""
    return ItemStatistics(item_id, 0, (), (), (), ())


def _heaviest(statistics: ItemStatistics) -> ItemStatistics:
    """Return the counts of the `MAX_TYPES` heaviest types."""
    if len(statistics.event_types) <= MAX_TYPES:
        return statistics
    # Types are in order of their names, and the sort is stable.
    places = sorted(range(len(statistics.week)), key=lambda place: -statistics.week[place])
    return _only(statistics, sorted(places[:MAX_TYPES]))


def _only(statistics: ItemStatistics, places: Sequence[int]) -> ItemStatistics:
    """Return the counts of the types at these places."""
    return ItemStatistics(
        statistics.item_id,
        statistics.timestamp,
        tuple([statistics.event_types[place] for place in places]),
        tuple([statistics.hour[place] for place in places]),
        tuple([statistics.day[place] for place in places]),
        tuple([statistics.week[place] for place in places]),
    )


def _decayed(counts: tuple[float, ...], windows: float) -> tuple[float, ...]:
    weight = math.exp(-windows)
    return tuple([value * weight for value in counts])


def count_columns(events: pl.DataFrame) -> dict[str, ItemStatistics]:
    """Return the statistics of every item of a frame with item_id, event_type, timestamp in µs.

    The same as `count` for each event, in one pass over columns: of an item that has had more than
    `MAX_TYPES` types, the heaviest of all of them, where `count` knows what came until then.
    """
    age = pl.col("newest") - pl.col("timestamp")
    rows = (
        events.with_columns(newest=pl.col("timestamp").max().over("item_id"))
        .group_by("item_id", "event_type")
        .agg(
            pl.col("newest").first(),
            *(
                (-age / window).exp().sum().alias(name)
                for name, window in (("hour", HOUR), ("day", DAY), ("week", WEEK))
            ),
        )
        .filter(pl.col("week") >= NEGLIGIBLE)
        .sort("item_id", "week", "event_type", descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("item_id") < MAX_TYPES)
        .sort("item_id", "event_type")
        .group_by("item_id", maintain_order=True)
        .agg(pl.col("newest").first(), "event_type", "hour", "day", "week")
    )
    return {
        item_id: ItemStatistics(item_id, newest, *(tuple(column) for column in columns))
        for item_id, newest, *columns in rows.iter_rows()
    }
