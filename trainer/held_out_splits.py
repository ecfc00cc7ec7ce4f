"""What is held out of the events, to judge by and to learn to rank from."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

import polars as pl

from feature_repo.schema import Item
from feature_repo.times import INSTANT
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.tasks import Split, leave_one_out_split, temporal_split


def held_out_splits(
    events: pl.DataFrame,
    items: Sequence[Item],
    settings: TrainingSettings,
    since: datetime | None = None,
) -> Iterator[Split]:
    """Yield splits at older and older cuts; none contains the events that one before it asks for.

    By `settings.holdout`: with "newest" the first split asks for the newest slice of the time, the
    second for the slice of the same length before it, and so on; with "last_events" for each user's
    last event, for the last but one, and so on. Yields nothing where nothing is held out, and ends
    where no events are left before a cut.

    since: the first split asks for nothing older than this; "last_events" ignores it.
    """
    if not settings.holdout_share:
        return
    splits = (
        _last_events(events, items, settings)
        if settings.holdout == "last_events"
        else _slices(events, items, settings, since)
    )
    for split in splits:
        if not len(split.past.item):
            return
        yield split


def newest_cut(
    interactions: Interactions, settings: TrainingSettings, since: datetime | None = None
) -> datetime:
    """Return the moment at which the newest slice of the time begins, at `since` or later."""
    span = interactions.end - interactions.start
    cut = interactions.end - min(span * settings.holdout_share, timedelta(days=30))
    return cut if since is None else max(cut, since)


def _last_events(
    events: pl.DataFrame, items: Sequence[Item], settings: TrainingSettings
) -> Iterator[Split]:
    weightless = settings.weightless
    for number in count(1):
        yield leave_one_out_split(events, items, number, number, weightless=weightless)


def _slices(
    events: pl.DataFrame,
    items: Sequence[Item],
    settings: TrainingSettings,
    since: datetime | None,
) -> Iterator[Split]:
    every = Interactions.from_frame(events, items)
    cut, end = newest_cut(every, settings, since), every.end + INSTANT
    length = end - cut
    for number in count():
        start = cut - number * length
        yield temporal_split(events, items, start, start + length, weightless=settings.weightless)
