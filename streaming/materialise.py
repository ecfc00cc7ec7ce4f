"""Takes up what imports have added to the archive.

While no worker follows the log, in bulk: the same laws as the live fold, but of every user's events
the newest are kept, and statistics are counted in one pass over columns. A segment is folded once:
its statistics and its name are committed together. An import leaves out events the archive has, so
that segments are disjoint.

Beside workers, through the log: only the owner of a user's partition may write the user's history
(ADR 0008).
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import polars as pl

from feature_repo.archive import MOMENT
from feature_repo.co_visitation import merge as merge_pairs
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.co_visited_columns import COLUMNS, co_visited
from feature_repo.event_log import EVENTS, USERS, EventLog, GroupedLog
from feature_repo.history import DEFAULT_MAX_LENGTH, HistoryEvent, UserHistory, fold
from feature_repo.item_statistics import count_columns, merge
from feature_repo.online_features import CoVisitation, OnlineFeatures
from streaming.erasures import Moments, moments_among
from streaming.imports import (
    ImportArchive,
    Imports,
    Unarchived,
    event_messages,
    imported_users,
    user_messages,
    users_mark,
)
from streaming.metrics import StreamMetrics
from streaming.processor import Updates
from streaming.publisher import Publisher
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.stream_state import IMPORTED, OpenState, StateConflict

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many are done, and of how many."""

FOLLOWED = "stream.followed"
"""Stands among the folded segments once a worker may follow the log: a broker may have others."""

_USERS_PER_STEP = 2_000


def materialise(
    archive: ImportArchive,
    state: OpenState,
    online: OnlineFeatures,
    log: GroupedLog,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    progress: Progress = lambda *_: None,
) -> int:
    """Take up what imports have added since the last time; return the number of events.

    Run it before a worker of the same process follows the log. From then on, since others may
    follow a broker's, what is imported goes through the log; an embedded log nobody else follows.
    User embeddings are left to the first request or event of each user. Interrupted at any moment,
    it ends in the same state when repeated, and so do several at once, as workers that start
    together are.
    """
    settings = settings or StreamingSettings()
    total = 0
    while True:
        # The version first: whoever takes something up after it, makes the commits conflicts.
        version = state.load(IMPORTED, (), ()).version
        folded = state.folded_segments()
        news = Imports.of(archive, folded)
        try:
            if not any(news):
                push_unpushed(state, online, log, settings, progress)
                if FOLLOWED not in folded and not isinstance(log, SqliteLog):
                    state.commit(IMPORTED, version, Updates(), {}, [FOLLOWED])
                return total
            if FOLLOWED in folded:
                total += _append(archive, state, log, news, progress)
                continue
            unarchived = Unarchived.of(log)
            if news.users:
                users = imported_users(archive, news.users, unarchived)
                marks = [users_mark(segment) for segment in news.users]
                state.commit(IMPORTED, version, Updates(users={**users}), {}, marks)
            for number, segment in enumerate(news.events):
                progress("segments", number, len(news.events))
                scan = unarchived.without_erased(archive.scan_segment(segment))
                total += fold_events(scan, state, max_history, settings.co_visitation, [segment])
            progress("segments", len(news.events), len(news.events))
        except StateConflict:
            continue  # Another takes them up too: look again at what is left.


def _append(
    archive: ImportArchive, state: OpenState, log: GroupedLog, news: Imports, progress: Progress
) -> int:
    """Append what is new to the log, segment by segment; return the number of events.

    Repeated after a crash it is appended again, and a repeated event changes nothing.
    """
    unarchived = Unarchived.of(log)
    if news.users:
        users = imported_users(archive, news.users, unarchived)
        for messages in user_messages(users.values()):
            log.append(USERS, messages)
        commit_imported(state, Updates(), [users_mark(segment) for segment in news.users])
    total = 0
    for number, segment in enumerate(news.events):
        progress("segments to the log", number, len(news.events))
        for messages in event_messages(unarchived.without_erased(archive.scan_segment(segment))):
            log.append(EVENTS, messages)
            total += len(messages)
        commit_imported(state, Updates(), [segment])
    progress("segments to the log", len(news.events), len(news.events))
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
    meanwhile, or follows the log, and raises `StateConflict` where another folds anything at the
    same time.
    """
    is_logged = MOMENT in scan.collect_schema()
    scan = scan.sort(MOMENT) if is_logged else scan.with_columns(pl.lit(0).alias(MOMENT))
    columns = ["user_id", "timestamp", "event_id", "item_id", "event_type", "value", MOMENT]
    events = scan.select(columns).unique("event_id", keep="last" if is_logged else "any").collect()
    events = events.with_columns(
        pl.col("timestamp").dt.epoch("us"), pl.col("value", MOMENT).fill_null(0)
    )
    taken = {FOLLOWED, *segments}
    earlier: list[UserHistory] = []
    for histories in _newest(events, max_history):
        known = state.load(IMPORTED, histories, ())
        # Asked after the version was read: who folds them from here on makes commits conflicts.
        if not taken.isdisjoint(state.folded_segments()):
            return 0
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
    if not taken.isdisjoint(state.folded_segments()):
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
