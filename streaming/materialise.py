"""Takes up what imports have added to the archive.

While no worker follows the log, in bulk (`streaming.bulk_fold`, `streaming.imported_items`). A
segment is folded once: its statistics and its name are committed together. An import leaves out
events the archive has, so that segments are disjoint.

Beside workers, through the log: only the owner of a partition may write what is keyed by it
(ADR 0008).
"""

from collections.abc import Callable
from datetime import UTC, datetime

from feature_repo.event_log import EVENTS, ITEMS, USERS, GroupedLog
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import OnlineFeatures
from streaming.bulk_fold import fold_events
from streaming.imported_items import ItemImports, Served, push_unpushed
from streaming.imports import (
    ImportArchive,
    Imports,
    Unarchived,
    event_messages,
    imported_users,
    item_messages,
    user_messages,
)
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.milestones import FOLLOWED, NONE, Milestones
from streaming.publisher import Publisher
from streaming.settings import StreamingSettings
from streaming.stream_state import IMPORTED, OpenState, StateConflict
from streaming.updates import Updates

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many are done, and of how many."""


def materialise(
    archive: ImportArchive,
    state: OpenState,
    online: OnlineFeatures,
    log: GroupedLog,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    served: Served | None = None,
    progress: Progress = lambda *_: None,
) -> int:
    """Take up what imports have added since the last time; return the number of events.

    Run it before a worker of the same process follows the log. From then on, since others may
    follow a broker's, what is imported goes through the log; an embedded log nobody else follows.
    User embeddings are left to the first request or event of each user. Interrupted at any moment,
    it ends in the same state when repeated, and so do several at once, as workers that start
    together are.
    """
    settings, served, metrics = settings or StreamingSettings(), served or Served(), StreamMetrics()
    publisher = Publisher(
        log,
        online,
        served.encoder,
        metrics,
        lambda: datetime.now(UTC),
        served.space,
        state.items,
        settings,
    )
    learner = Learner(state, served.encoder, served.space, settings, metrics)
    imported_items = ItemImports(archive, state, log, served, publisher, learner)
    total = 0
    while True:
        # The version first: whoever takes something up after it, makes the commits conflicts.
        version = state.load(IMPORTED, (), ()).version
        passed = state.milestones()
        news = Imports.of(archive, passed)
        try:
            if not any(news):
                push_unpushed(state, publisher, progress)
                if log.is_shared_out and not passed.is_followed:
                    state.commit(IMPORTED, version, Updates(), {}, milestones=FOLLOWED)
                return total
            if passed.is_followed:
                total += _append(archive, state, log, news, progress)
                continue
            unarchived = Unarchived.of(log)
            if news.items:
                version = imported_items.take_up(news.items, unarchived, version, progress)
            if news.users:
                users = imported_users(archive, news.users, unarchived)
                taken_up = Milestones.of_segments(users=news.users)
                state.commit(IMPORTED, version, Updates(users={**users}), {}, milestones=taken_up)
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
    for number, segment in enumerate(news.items):
        progress("items to the log", number, len(news.items))
        for items in archive.items_of([segment]):
            newest = [item for item in items if item.item_id not in unarchived.items]
            log.append(ITEMS, item_messages(newest))
        commit_imported(state, Updates(), Milestones.of_segments(items=[segment]))
    progress("items to the log", len(news.items), len(news.items))
    if news.users:
        users = imported_users(archive, news.users, unarchived)
        for messages in user_messages(users.values()):
            log.append(USERS, messages)
        commit_imported(state, Updates(), Milestones.of_segments(users=news.users))
    total = 0
    for number, segment in enumerate(news.events):
        progress("segments to the log", number, len(news.events))
        for messages in event_messages(unarchived.without_erased(archive.scan_segment(segment))):
            log.append(EVENTS, messages)
            total += len(messages)
        commit_imported(state, Updates(), Milestones.of_segments([segment]))
    progress("segments to the log", len(news.events), len(news.events))
    return total


def commit_imported(state: OpenState, updates: Updates, milestones: Milestones = NONE) -> None:
    """Commit whole values that came from the archive, over whatever was there."""
    version = state.load(IMPORTED, (), ()).version
    state.commit(IMPORTED, version, updates, {}, milestones=milestones)
