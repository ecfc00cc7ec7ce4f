"""Takes up, into state and online store, what imports have added to the archive.

While no worker follows the log, events are folded in bulk (`streaming.bulk_fold`). A segment is
folded once: its statistics and its name are committed together. An import leaves out events that
the archive has, so segments are disjoint.

Beside workers, events and users are appended to the log: only the owner of a user's partition may
write the user's history (ADR 0008).

Items are always appended to the log, but only those that the stream has in another version: servers
have all others from their bundle.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from feature_repo.archive import Archive
from feature_repo.event_log import EVENTS, ITEMS, USERS, EventLog, GroupedLog
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.log_records import decode_record
from feature_repo.online_features import OnlineFeatures
from feature_repo.schema import Item
from streaming.bulk_fold import fold_events
from streaming.imports import (
    Imports,
    Unarchived,
    event_messages,
    imported_users,
    item_messages,
    unread_keys,
    user_messages,
)
from streaming.metrics import StreamMetrics
from streaming.milestones import FOLLOWED, Milestones
from streaming.publisher import Publisher
from streaming.served_model import NoModel
from streaming.settings import StreamingSettings
from streaming.stream_state import IMPORTED, OpenState, StateConflict, positions_of, remember
from streaming.updates import Updates

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""

_KEYS_PER_PAGE = 2_000
"""One transaction of so many does not outlast a server's socket."""


def materialise(
    archive: Archive,
    state: OpenState,
    online: OnlineFeatures,
    log: GroupedLog,
    *,
    settings: StreamingSettings | None = None,
    max_history: int = DEFAULT_MAX_LENGTH,
    progress: Progress = lambda *_: None,
) -> int:
    """Take up what imports have added since the last time; return the number of events.

    Run it before the worker of this process starts. On a broker it marks the state as followed in
    the end: what is imported later goes through the log, since other workers may run. An embedded
    log has no other follower, so imports are always folded in bulk.

    User embeddings are left to requests and to the worker. It is idempotent: interrupted at any
    moment and repeated, or run at once by workers that start together, it ends in the same state.
    """
    settings = settings or StreamingSettings()
    total = 0
    while True:
        # Read the version first: if others take anything up after it, our commits are refused.
        version = state.load(IMPORTED, (), ()).version
        passed = state.milestones()
        news = Imports.of(archive, passed)
        try:
            if not any(news):
                push_unpushed(state, online, log, settings, progress)
                if log.is_shared_out and not passed.is_followed:
                    state.commit(IMPORTED, version, Updates(), {}, milestones=FOLLOWED)
                return total
            if news.items:
                _append_items(archive, state, log, news.items)
                continue
            if passed.is_followed:
                total += _append(archive, state, log, news, progress)
                continue
            unarchived = Unarchived.of(log)
            if news.users:
                users = imported_users(archive, news.users, unarchived)
                # A worker has still to read what was posted of them before: it reads this after.
                behind = users.keys() & unread_keys(log, USERS, positions_of(state))
                for messages in user_messages([users[user_id] for user_id in sorted(behind)]):
                    log.append(USERS, messages)
                pages = (Updates(users=page) for page in in_pages(users))
                version = commit_pages(state, version, pages)
                # After all of them: interrupted before it, they are committed again.
                taken_up = Milestones.of_segments(users=news.users)
                state.commit(IMPORTED, version, Updates(), {}, milestones=taken_up)
            for number, segment in enumerate(news.events):
                progress("segments", number, len(news.events))
                scan = unarchived.without_erased(archive.events.scan_segment(segment))
                total += fold_events(scan, state, max_history, settings.co_visitation, [segment])
            progress("segments", len(news.events), len(news.events))
        except StateConflict:
            continue  # Another process takes imports up too: look again at what is left.


def _append_items(
    archive: Archive, state: OpenState, log: GroupedLog, segments: Sequence[str]
) -> None:
    """Append those imported items to the log that the state has in another version, or soon may.

    Those that an import deletes, which servers may have from their bundle, if it has any version.

    Items that the log holds beyond the archive are newer than any import, and are left out.
    Repeated after a crash, an item may be appended twice.
    """
    unarchived = Unarchived.of(log).items
    unread = unread_keys(log, ITEMS, positions_of(state)) - unarchived
    for records in archive.items_of(segments):
        newer = records.keys() - unarchived
        known = state.items(newer)
        gone = {item_id for item_id in newer if records[item_id] is None}
        asked = known.keys() | (newer & unread) | (gone - known.keys())
        items = {item_id: _item(records[item_id]) for item_id in sorted(asked)}
        news = {
            item_id: item
            for item_id, item in items.items()
            # An item that the worker has still to read may be different in the state afterwards.
            if item_id in unread or item_id not in known or known[item_id] != item
        }
        log.append(ITEMS, item_messages(news))
    remember(state, Milestones.of_segments(items=segments))


def _item(record: str | None) -> Item | None:
    return None if record is None else decode_record(Item, record)


def _append(
    archive: Archive, state: OpenState, log: GroupedLog, news: Imports, progress: Progress
) -> int:
    """Append what is new to the log, segment by segment; return the number of events.

    Repeated after a crash, some are appended twice; a repeated event changes nothing.
    """
    if news.users:
        users = imported_users(archive, news.users, Unarchived.of(log))
        for messages in user_messages(users.values()):
            log.append(USERS, messages)
        remember(state, Milestones.of_segments(users=news.users))
    total = 0
    for number, segment in enumerate(news.events):
        progress("segments to the log", number, len(news.events))
        # Each time anew: what is appended after an erasure would seem to be done after it.
        scan = Unarchived.of(log).without_erased(archive.events.scan_segment(segment))
        for messages in event_messages(scan):
            log.append(EVENTS, messages)
            total += len(messages)
        remember(state, Milestones.of_segments([segment]))
    progress("segments to the log", len(news.events), len(news.events))
    return total


def push_unpushed(
    state: OpenState,
    online: OnlineFeatures,
    log: EventLog,
    settings: StreamingSettings,
    progress: Progress = lambda *_: None,
) -> None:
    """Push what was imported to the online store, without embeddings.

    What a worker has left unpushed it pushes itself when it recovers, with embeddings.
    """
    publisher = Publisher(
        log, online, state, NoModel(), StreamMetrics(), lambda: datetime.now(UTC), settings
    )
    done, total = 0, state.count_unpushed()
    while unpushed := state.unpushed(IMPORTED, _KEYS_PER_PAGE):
        publisher.publish(unpushed.updates)
        state.forget_pushed(IMPORTED, unpushed.stamps)
        done += len(unpushed.stamps)
        progress("online store", done, total)


def in_pages(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `values`, some at a time, each of which a store takes in one transaction."""
    left = iter(values.items())
    while page := dict(islice(left, _KEYS_PER_PAGE)):
        yield page


def commit_pages(state: OpenState, version: int, pages: Iterable[Updates]) -> int:
    """Commit values that came from the archive; return the version of `IMPORTED` after them.

    version: the one before. Raises `StateConflict` where another process commits meanwhile.
    """
    for page in pages:
        state.commit(IMPORTED, version, page, {})
        version += 1
    return version
