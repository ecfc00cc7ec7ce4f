"""Folds events of the archive in bulk, over columns, by the rules of the live fold.

Each user's newest events make the history; statistics are counted in one pass.
"""

from collections.abc import Collection, Iterator, Sequence

import polars as pl

from feature_repo.archive import APPENDED_AT, MOMENT
from feature_repo.co_visitation import merge as merge_pairs
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.co_visited_columns import COLUMNS, co_visited
from feature_repo.history import EVENT_KEY, HistoryEvent, UserHistory, fold
from feature_repo.item_statistics import count_columns, merge
from feature_repo.online_features import CoVisitation
from streaming.erasures import Moments, moments_among
from streaming.milestones import Milestones
from streaming.stream_state import IMPORTED, OpenState, Slice
from streaming.updates import Updates

_USERS_PER_STEP = 2_000
_COUNTED_AT = "counted_at"

Histories = dict[str, tuple[UserHistory, Moments]]


class _TakenUp(Exception):  # noqa: N818 — what happened, not what went wrong
    """Another process has folded the segments meanwhile, or follows the log."""


def fold_events(
    scan: pl.LazyFrame,
    state: OpenState,
    max_history: int,
    settings: CoVisitationSettings,
    segments: Collection[str] = (),
) -> int:
    """Fold events of the archive, none of which is in the state; return their number.

    scan: the events. With the columns `MOMENT` and `APPENDED_AT` each once; without them,
        repetitions are dropped.
    segments: the names of the segments, if the events are all of theirs.

    Returns 0 where another process has folded the segments meanwhile, or follows the log. Raises
    `StateConflict` where another one folds anything at the same time.
    """
    events = _collected(scan)
    try:
        # Folding histories again after a crash is idempotent: a known event changes nothing.
        # Adding to sums is not, so they and the segments' names are one commit.
        earlier = _fold_histories(events, state, max_history, segments)
        _fold_sums(events, earlier, state, max_history, settings, segments)
    except _TakenUp:
        return 0
    return events.height


def _collected(scan: pl.LazyFrame) -> pl.DataFrame:
    """Return each event once, with the columns that a fold needs; times are microseconds.

    `_COUNTED_AT` is what `item_statistics.counted_at` gives.
    """
    columns = ["user_id", "timestamp", "event_id", "item_id", "event_type", "value"]
    if MOMENT in scan.collect_schema():
        events = scan.select(*columns, MOMENT, APPENDED_AT).collect()
    else:
        unlogged = (pl.lit(None, pl.Int64).alias(name) for name in (MOMENT, APPENDED_AT))
        events = scan.select(*columns, *unlogged).unique(EVENT_KEY).collect()
    timestamp = pl.col("timestamp").dt.epoch("us")
    counted_at = pl.min_horizontal(timestamp, pl.col(APPENDED_AT) * 1_000)
    return events.with_columns(
        timestamp, pl.col("value", MOMENT).fill_null(0), counted_at.alias(_COUNTED_AT)
    ).drop(APPENDED_AT)


def _fold_histories(
    events: pl.DataFrame, state: OpenState, max_history: int, segments: Collection[str]
) -> list[UserHistory]:
    """Commit the users' histories with these events; return the histories before them."""
    earlier: list[UserHistory] = []
    for histories in _newest(events, max_history):
        known = _load_untaken(state, segments, user_ids=histories)
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
        state.commit(IMPORTED, known.version, updates, {})
    return earlier


def _fold_sums(
    events: pl.DataFrame,
    earlier: Sequence[UserHistory],
    state: OpenState,
    max_history: int,
    settings: CoVisitationSettings,
    segments: Collection[str],
) -> None:
    """Commit statistics and co-visitation with these events, and that the segments are folded."""
    counted = count_columns(events.with_columns(timestamp=_COUNTED_AT))
    paired: dict[str, CoVisitation] = {}
    if settings.neighbours:
        paired = co_visited(events, _event_columns(earlier), settings, max_history)
    known = _load_untaken(state, segments, item_ids=counted.keys() | paired.keys())
    for item_id in counted.keys() & known.statistics.keys():
        counted[item_id] = merge(known.statistics[item_id], counted[item_id])
    for item_id in paired.keys() & known.co_visitation.keys():
        paired[item_id] = merge_pairs(known.co_visitation[item_id], paired[item_id])
    updates = Updates(statistics=counted, co_visitation=paired)
    folded = Milestones.of_segments(segments)
    state.commit(IMPORTED, known.version, updates, {}, milestones=folded)


def _load_untaken(
    state: OpenState,
    segments: Collection[str],
    user_ids: Collection[str] = (),
    item_ids: Collection[str] = (),
) -> Slice:
    """Load what the events are folded into. Raises `_TakenUp` where others fold them."""
    known = state.load(IMPORTED, user_ids, item_ids)
    # Read after the version: if others fold them from here on, our commits are refused.
    passed = state.milestones()
    if passed.is_followed or not passed.event_segments.isdisjoint(segments):
        raise _TakenUp
    return known


def _newest(events: pl.DataFrame, max_history: int) -> Iterator[Histories]:
    """Yield every user's newest events in order, and their moments, some users at a time."""
    kept = events.drop(_COUNTED_AT).sort("user_id", "timestamp", "event_id").group_by(
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
