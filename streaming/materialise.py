"""Folds imported archive segments into the worker's state and the online store.

The same laws as the live fold, in bulk: of every user's events the newest are kept, statistics
are counted in one pass over columns. A segment is folded once: its statistics and its name are
committed together. An import leaves out events the archive has, so that segments are
disjoint.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

import polars as pl

from feature_repo.archive import MOMENT
from feature_repo.co_visitation import merge as merge_pairs
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.co_visited_columns import COLUMNS, co_visited
from feature_repo.event_log import EventLog
from feature_repo.history import DEFAULT_MAX_LENGTH, HistoryEvent, UserHistory, fold
from feature_repo.item_statistics import count_columns, merge
from feature_repo.online_features import CoVisitation, OnlineFeatures
from feature_repo.schema import User
from streaming.archiver import LIVE
from streaming.erasures import Moments, moments_among
from streaming.metrics import StreamMetrics
from streaming.processor import Updates
from streaming.publisher import Publisher
from streaming.settings import StreamingSettings
from streaming.stream_state import IMPORTED, OpenState, StateConflict, StateContents

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many are done, and of how many."""

_USERS_PER_STEP = 2_000


class SegmentedArchive(Protocol):
    """What is asked of the archive."""

    def segments(self) -> list[str]:
        """Return the names of the complete event segments."""
        ...

    def scan_segment(self, segment: str) -> pl.LazyFrame:
        """Return the events of one segment."""
        ...

    def users(self) -> list[User]:
        """Return the newest state of every user."""
        ...


def unfolded_segments(archive: SegmentedArchive, state: StateContents) -> list[str]:
    """Return the imported segments whose events are not in the state yet."""
    folded = state.folded_segments()
    return [
        segment
        for segment in archive.segments()
        if segment not in folded and not segment.startswith(LIVE)
    ]


def materialise(
    archive: SegmentedArchive,
    state: OpenState,
    online: OnlineFeatures,
    log: EventLog,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    progress: Progress = lambda *_: None,
) -> int:
    """Fold what imports have added since the last time; return the number of events.

    Run it while no worker follows the log. User embeddings are left to the first request or
    event of each user. Interrupted at any moment, it ends in the same state when repeated, and so
    do several at once, as workers that start together are.
    """
    settings = settings or StreamingSettings()
    total = 0
    while segments := unfolded_segments(archive, state):
        try:
            # Users first: once the last segment is folded, nobody looks again.
            commit_imported(state, Updates(users={user.user_id: user for user in archive.users()}))
            for number, segment in enumerate(segments):
                progress("segments", number, len(segments))
                scan = archive.scan_segment(segment)
                total += fold_events(scan, state, max_history, settings.co_visitation, [segment])
            progress("segments", len(segments), len(segments))
        except StateConflict:
            continue  # Another folds them too: look again at what is left.
    push_unpushed(state, online, log, settings, progress)
    return total


def push_unpushed(
    state: OpenState,
    online: OnlineFeatures,
    log: EventLog,
    settings: StreamingSettings,
    progress: Progress = lambda *_: None,
) -> None:
    """Tell the online store of what was imported, without embeddings.

    What the worker has left unpushed it pushes itself when it recovers, with them.
    """
    publisher = Publisher(
        log, online, lambda: None, StreamMetrics(), lambda: datetime.now(UTC), settings=settings
    )
    done, total = 0, state.count_unpushed()
    while unpushed := state.unpushed(IMPORTED, _USERS_PER_STEP):
        publisher.publish(unpushed.updates)
        state.forget_pushed(IMPORTED, unpushed.stamps)
        done += len(unpushed.stamps)
        progress("online store", done, total)


def fold_events(
    scan: pl.LazyFrame,
    state: OpenState,
    max_history: int,
    settings: CoVisitationSettings,
    segments: Sequence[str] = (),
) -> int:
    """Fold events of the archive, none of which is in the state; return their number.

    scan: may hold an event repeatedly. Its last `MOMENT` counts, if it has that column.

    segments: their names, if they are whole segments. Returns 0 where another has folded them
    meanwhile, and raises `StateConflict` where another folds anything at the same time.
    """
    is_logged = MOMENT in scan.collect_schema()
    scan = scan.sort(MOMENT) if is_logged else scan.with_columns(pl.lit(0).alias(MOMENT))
    columns = ["user_id", "timestamp", "event_id", "item_id", "event_type", "value", MOMENT]
    events = scan.select(columns).unique("event_id", keep="last" if is_logged else "any").collect()
    events = events.with_columns(
        pl.col("timestamp").dt.epoch("us"), pl.col("value", MOMENT).fill_null(0)
    )
    earlier: list[UserHistory] = []
    for histories in _newest(events, max_history):
        known = state.load(IMPORTED, histories, ())
        earlier += known.histories.values()
        updates = Updates()
        for user_id, (newest, moments) in histories.items():
            before = known.histories.get(user_id)
            if before is None:
                updates.histories[user_id], updates.moments[user_id] = newest, moments
                continue
            after = fold(before, newest.events, max_history)
            if after is not before:
                both = (newest, moments), (before, known.moments[user_id])
                updates.histories[user_id] = after
                updates.moments[user_id] = moments_among(after, *both)
        # Histories may be folded again after a crash: a known event changes nothing.
        state.commit(IMPORTED, known.version, updates, {})
    counted = count_columns(events)
    paired: dict[str, CoVisitation] = {}
    if settings.neighbours:
        paired = co_visited(events, _event_columns(earlier), settings, max_history)
    known = state.load(IMPORTED, (), counted.keys() | paired.keys())
    # Asked after the version was read: who folds them from here on makes the commit a conflict.
    if not state.folded_segments().isdisjoint(segments):
        return 0
    for item_id in counted.keys() & known.statistics.keys():
        counted[item_id] = merge(known.statistics[item_id], counted[item_id])
    for item_id in paired.keys() & known.co_visitation.keys():
        paired[item_id] = merge_pairs(known.co_visitation[item_id], paired[item_id])
    # Counts may not, so they and the segment's name are one transaction.
    updates = Updates(statistics=counted, co_visitation=paired)
    state.commit(IMPORTED, known.version, updates, {}, segments)
    return events.height


def commit_imported(state: OpenState, updates: Updates, segments: Sequence[str] = ()) -> None:
    """Commit whole values that came from the archive, over whatever was there."""
    version = state.load(IMPORTED, (), ()).version
    state.commit(IMPORTED, version, updates, {}, segments)


def _newest(
    events: pl.DataFrame, max_history: int
) -> Iterator[dict[str, tuple[UserHistory, Moments]]]:
    """Yield every user's newest events in order, and their moments, some users at a time."""
    kept = events.sort("user_id", "timestamp", "event_id").group_by(
        "user_id", maintain_order=True
    ).agg(pl.exclude("user_id").tail(max_history))  # fmt: skip
    for some in kept.iter_slices(_USERS_PER_STEP):
        yield {
            user_id: (UserHistory(user_id, tuple(map(HistoryEvent, *columns))), tuple(moments))
            for user_id, *columns, moments in some.iter_rows()
        }


def _event_columns(histories: Sequence[UserHistory]) -> pl.DataFrame:
    rows = [
        (history.user_id, event.timestamp, event.event_id, event.item_id, event.event_type)
        for history in histories
        for event in history.events
    ]
    types = (pl.String(), pl.Int64(), pl.String(), pl.String(), pl.String())
    return pl.DataFrame(rows, schema=dict(zip(COLUMNS, types, strict=True)), orient="row")
