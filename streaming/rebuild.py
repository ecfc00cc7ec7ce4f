"""Rebuilds the stream's state from the archive, with positions for the stream to continue at."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import chain
from typing import Any

import polars as pl

from feature_repo.archive import MOMENT, Archive
from feature_repo.event_log import EventLog, GroupedLog, TrimmableLog
from feature_repo.history import DEFAULT_MAX_LENGTH, EVENT_KEY, UserHistory
from feature_repo.online_features import OnlineFeatures
from feature_repo.segment_names import LIVE, end_of
from streaming.archiver import TOPICS
from streaming.bulk_fold import fold_events
from streaming.imports import Imports
from streaming.materialise import Progress, commit_pages, in_pages, push_unpushed
from streaming.milestones import REBUILD_BEGUN, Milestones
from streaming.settings import StreamingSettings
from streaming.store_watch import StoreWatch
from streaming.stream_state import IMPORTED, OpenState, StateLost, positions_of, remember
from streaming.updates import Updates
from streaming.worker import GROUP


def rebuild(
    archive: Archive,
    state: OpenState,
    online: OnlineFeatures,
    log: GroupedLog,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    progress: Progress = lambda *_: None,
) -> int:
    """Empty the state, fold the whole archive into it, and return the number of events.

    1. Make a new embedded log begin after every offset that the archive knows of the old one, so
       that moments ascend and no two segments have one name. Empty the state, all but whose it is;
       mark the rebuild as begun.
    2. Fold the events day by day. Two segments may hold one event, and so may two days, where one
       without a time was sent again after midnight: it is of the day on which it came first.
    3. Take up items and users, and those that were deleted: the online store may hold them still.
    4. Set the position of each partition that both the archive and the worker's group have
       reached, or its start if that is later. Set the marks of erasures: the log may still hold
       older events of those users.
    5. Mark the rebuild as ended, and the imports that are in it as taken up.
    6. Push everything to the online store.

    Run it while no worker, archiver or import runs. Interrupted, it must be repeated:
    `require_whole` refuses the state until then. The worker reads again what the archive has beyond
    the positions. Those events change nothing: their user's history has them, or is newer. A record
    that cannot be decoded gets its dead letter, where only the archiver has passed it before.

    Raises, before the state is emptied, `ForeignShop` where the online store is not of its shop,
    and `ShopFileError` where the archive's marks or positions are damaged.
    """
    settings = settings or StreamingSettings()
    watch = StoreWatch(state, online)
    watch.require_own()
    # 1. Go on after the archive; empty the state. Marks are read before: they may be damaged.
    imports, erasures = Imports.of(archive), archive.marks.moments()
    if isinstance(log, TrimmableLog):
        log.begin_after(last_offset(archive))
    archived, unread = archive.positions.read(), log.unread(GROUP, TOPICS)
    # Where a partition begins later, the log has lost what is before that.
    positions = {
        source: max(min(archived.get(source, 0), unread[source]), start)
        for source, start in log.starts(TOPICS).items()
    }
    shop = state.milestones().shop
    state.reset()
    remember(state, replace(REBUILD_BEGUN, shop=shop))
    # From here on, all that the store is to hold is put on a list.
    watch.look()
    # 2. Events.
    days = archive.events.days()
    total = 0
    for number, day in enumerate(days):
        progress("days", number, len(days))
        scan = _events_of(archive, day)
        total += fold_events(scan, state, max_history, settings.co_visitation)
    progress("days", len(days), len(days))
    # 3. Items and users.
    items: dict[str, Any] = dict.fromkeys(archive.deleted_items())
    items.update((item.item_id, item) for item in archive.items())
    erased = [user_id for marks in erasures.values() for user_id in marks]
    users: dict[str, Any] = dict.fromkeys(erased)
    users.update((user.user_id, user) for user in archive.users())
    come_back = state.load(IMPORTED, erased, ())
    gone = {each: UserHistory(each) for each in erased if each not in come_back.histories}
    pages = chain(
        (Updates(items=page) for page in in_pages(items)),
        (Updates(users=page) for page in in_pages(users)),
        (Updates(histories=page) for page in in_pages(gone)),
    )
    commit_pages(state, come_back.version, pages)
    # 4. Positions.
    # A topic that was made anew may have fewer partitions; the dead letters are still there.
    for partition in sorted({source.partition for source in positions} | erasures.keys()):
        own = {topic: at for (topic, number), at in positions.items() if number == partition}
        erased_there = Updates(erasures=erasures.get(partition, {}))
        state.commit(partition, state.load(partition, (), ()).version, erased_there, own)
    # 5. From here on the state is whole.
    taken_up = Milestones.of_segments(*imports)
    remember(state, replace(taken_up, rebuild_ended=True))
    # 6. Push.
    push_unpushed(state, online, log, settings, progress)
    return total


def _events_of(archive: Archive, day: date) -> pl.LazyFrame:
    """Return the events of a UTC day, without those that came first as of the day before or after.

    Each is as the log took it first, but with its last `MOMENT`, as in the live fold: a repetition
    with another timestamp does not change it.
    """
    own = archive.events.scan_day(day)
    beside = pl.concat([archive.events.scan_day(day + timedelta(days)) for days in (-1, 1)])
    again = beside.join(own.select(EVENT_KEY).unique(), on=EVENT_KEY, how="semi")
    once = (
        pl.concat([again, own])
        .sort(MOMENT, "timestamp")
        .with_columns(pl.col(MOMENT).max().over(EVENT_KEY))
        .unique(EVENT_KEY, keep="first", maintain_order=True)
    )
    return once.filter(pl.col("timestamp").dt.date() == day)


def last_offset(archive: Archive) -> int:
    """Return the largest offset of an embedded log that is found anywhere in the archive.

    An archiver that crashed may have written segments beyond the positions.
    """
    live = [segment for segment in archive.written_segments() if segment.startswith(LIVE)]
    ends = [*archive.positions.read().values(), *(end_of(segment) for segment in live)]
    marks = [moment for users in archive.marks.moments().values() for moment in users.values()]
    return max(archive.events.last_moment(), *(end - 1 for end in ends), *marks, 0)


def require_whole(state: OpenState, archive: Archive) -> None:
    """Raise `StateLost` where the state is half rebuilt, or empty while the archive is not."""
    if state.milestones().is_half_rebuilt:
        raise StateLost("a rebuild of the state was interrupted: repeat `riverrun rebuild`.")
    if archive.positions.read() and not positions_of(state):
        raise StateLost(
            f"the state is empty, but {archive.root} holds what the log has brought: "
            "`riverrun rebuild` makes the state again from it."
        )


def require_log(state: OpenState, log: EventLog) -> None:
    """Raise `LostPositionError` where the embedded log does not go on at a position of the state.

    It ends before it: it was removed or restored, and what is appended to it now would never be
    read. Or it was trimmed beyond it: the state is an older copy. For a Kafka the first poll
    raises it.
    """
    consumer = log.consumer(None, TOPICS)
    try:
        consumer.seek(positions_of(state))
    finally:
        consumer.close()
