"""Writes what the log holds to the archive, as a second consumer group beside the worker."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from feature_repo.archive import Archive
from feature_repo.event_log import (
    CO_PARTITIONED,
    EVENTS,
    ITEMS,
    USERS,
    EventLogError,
    GroupedLog,
    LogRecord,
    LostPositionError,
    TopicPartition,
)
from feature_repo.schema import Event, Item, User
from feature_repo.segment_names import LIVE
from streaming.decode import DecodeError, Decoder, ItemRemoved, UserErased
from streaming.erasures import keep_marks
from streaming.metrics import StreamMetrics
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.stream_thread import StreamThread

GROUP = "archive"
TOPICS = CO_PARTITIONED
STOP_SECONDS = 30.0
_POLL_SECONDS = 0.5
_POLL_RECORDS = 1_000
_REST_SECONDS = 0.5
_MERGE_REST_SECONDS = 10.0
"""A pause between merges, so that neither segments nor the worker beside them wait for many."""
_FEW_BYTES = 256 * 1024
"""A poll of less than this, and of fewer records than it may have, says that little is unread."""


class Archiver(StreamThread):
    """Collects decoded records and writes them as segments named by their place in the log.

    Erasures are collected too: one pass over the archive removes all users that a segment erases.
    A crash between writing and committing repeats the segment, under the same name or beside
    it; an event that lies in two segments is read once. Records that cannot be decoded are left
    out: the worker makes dead letters of them.

    Now and then it merges small files of the archive. housekeeping: called as often, for retention.
    """

    def __init__(
        self,
        log: GroupedLog,
        archive: Archive,
        *,
        settings: StreamingSettings | None = None,
        metrics: StreamMetrics | None = None,
        housekeeping: Callable[[], object] | None = None,
    ) -> None:
        self.settings = settings or StreamingSettings()
        self.metrics = metrics or StreamMetrics()
        super().__init__("archiver", STOP_SECONDS, Retrying(self.settings, self.metrics))
        self._archive = archive
        self._housekeeping = housekeeping or (lambda: None)
        self._decoder = Decoder.of(self.settings)
        self._log = log
        self._keep_marks = keep_marks(log, self.settings)
        self._marks = archive.marks.moments()
        self._erased_at = archive.marks.erased_at()
        self._request = archive.last_request()
        # Last: where the archive cannot be read, nothing is left open.
        self._consumer = log.consumer(GROUP, TOPICS, self._begin)
        self._is_awaited = False
        self._reads_little = True
        self._clear()
        self._housekeeping_due = time.monotonic() + self.settings.housekeeping_seconds
        self._merge_due = self._housekeeping_due

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.step()
            if self._reads_little:
                # Nobody waits for the archive, so let records gather: every poll has a cost of
                # its own, here and at the broker.
                self._stop.wait(_REST_SECONDS)
        # What has come while it rested, too: an import that follows is newer, and has to win.
        self.step()
        self.flush()

    def _begin(self, committed: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        """Return where to go on in partitions of which the archive has less than was committed.

        It was put back from a copy: what came since, erasures too, is read again where the log
        has it still.
        """
        archived = self._archive.positions.read()
        behind = {
            source: at
            for source, at in committed.items()
            if at is not None and archived.get(source, 0) < at
        }
        if not behind:
            return {}
        starts = self._log.starts(TOPICS)
        own = {source: archived.get(source, starts[source]) for source in behind}
        begin = {source: min(max(own[source], starts[source]), at) for source, at in behind.items()}
        self._logger.warning(
            "archive_was_put_back",
            read_again=sum(at - begin[source] for source, at in behind.items()),
            lost=sum(begin[source] - own[source] for source in behind),
        )
        return begin

    def step(self) -> int:
        """Collect some records, write them if there are enough or they have waited long enough.

        Where somebody waits for them they are also written once little is unread, not bit by bit
        until then. Returns the number of records read.
        """
        try:
            records = self._consumer.poll(_POLL_RECORDS, _POLL_SECONDS)
        except LostPositionError:
            raise  # Records are gone: a retry does not help, and somebody has to know.
        except (EventLogError, OSError) as error:
            # An `OSError` is the archive's: a poll may ask it where to begin.
            self.metrics.retries.labels("poll").inc()
            self._logger.warning("poll_failed", error=str(error))
            self._stop.wait(self.settings.retry_seconds)
            records = []
        size = sum(record.size for record in records)
        self._reads_little = len(records) < _POLL_RECORDS and size < _FEW_BYTES
        for record in records:
            self._collect(record)
        rows = len(self._events) + len(self._items) + len(self._users) + len(self._erased)
        full = rows >= self.settings.archive_rows or self._bytes >= self.settings.archive_bytes
        requested = self._retrying("archive", self._archive.last_request, (OSError,))
        self._is_awaited |= requested != self._request
        self._request = requested
        due = self._is_awaited and self._reads_little
        if self._positions and (full or due or time.monotonic() >= self._flush_due):
            self.flush()
        if self._reads_little:
            self._is_awaited = False
        if time.monotonic() >= self._housekeeping_due:
            self._housekeeping_due = time.monotonic() + self.settings.housekeeping_seconds
            try:
                self._housekeeping()
            except (EventLogError, OSError) as error:
                self._logger.warning("housekeeping_failed", error=str(error))
        if time.monotonic() >= self._merge_due:
            self._merge()
        return len(records)

    def _merge(self) -> None:
        rest = self.settings.housekeeping_seconds
        try:
            if merged := self._archive.merge(datetime.now(UTC)):
                self._logger.info("archive_merged", **merged._asdict())
                rest = min(rest, _MERGE_REST_SECONDS)
        except Exception as error:  # noqa: BLE001 — nothing is lost: it is tried again
            self._logger.warning("merge_failed", error=str(error))
        self._merge_due = time.monotonic() + rest

    def flush(self) -> None:
        """Write what is collected, then commit. Repeats until the archive takes it."""
        if not self._positions:
            return
        self._retrying("archive", self._write, (Exception,))
        self._clear()

    def _collect(self, record: LogRecord) -> None:
        if not self._positions:
            self._first: LogRecord | None = record
            self._flush_due = time.monotonic() + self.settings.archive_seconds
        self._positions[record.source] = record.offset + 1
        self._bytes += record.size
        try:
            change = self._decoder.decode(record)
        except DecodeError:
            return
        if isinstance(change, Event):
            self._add(change, record)
        elif isinstance(change, Item):
            self._items[change.item_id] = change
        elif isinstance(change, ItemRemoved):
            self._items[change.item_id] = None
        elif isinstance(change, User):
            self._users[change.user_id] = change
        else:
            self._erase(change, record)

    def _add(self, event: Event, record: LogRecord) -> None:
        partition = record.source.partition
        # One from the future, which a producer's clock has made, says nothing of the marks' age.
        if record.moment <= time.time() * 1_000:
            self._newest[partition] = max(self._newest.get(partition, 0), record.moment)
        if record.moment > self._marks.get(partition, {}).get(event.user_id, -1):
            self._events.append(event)
            self._moments.append(record.moment)
            self._appended_at.append(record.appended_at)

    def _erase(self, erased: UserErased, record: LogRecord) -> None:
        # Older events of the user that are archived or collected are removed by `_write`. Those
        # in topics that are not read up to here yet are left out by the mark.
        self._users.pop(erased.user_id, None)
        marks = self._marks.setdefault(record.source.partition, {})
        for moments in (self._erased, marks):
            moments[erased.user_id] = max(record.moment, moments.get(erased.user_id, -1))
        if record.appended_at is not None:
            before = self._erased_at.get(erased.user_id, 0)
            self._erased_at[erased.user_id] = max(record.appended_at, before)

    def _write(self) -> None:
        segment = self._segment_name()
        # Erase first: the segment may hold later events, and the profile, of a user who came back.
        if self._erased:
            self._archive.erase_users(self._erased)
        left = [
            (event, moment, at)
            for event, moment, at in zip(
                self._events, self._moments, self._appended_at, strict=True
            )
            if moment > self._erased.get(event.user_id, -1)
        ]
        if left:
            events, moments, appended_at = zip(*left, strict=True)
            self._archive.events.write(segment, events, moments, appended_at)
        if self._items:
            items = [item for item in self._items.values() if item is not None]
            gone = [item_id for item_id, item in self._items.items() if item is None]
            self._archive.write_items(segment, items, gone)
        if self._users:
            self._archive.write_users(segment, list(self._users.values()))
        self._write_marks()
        # After the segment: everything before these positions is in the archive.
        self._archive.positions.write(self._positions)
        # Commit after the rename: a repeated segment is harmless, a lost one is not.
        self._consumer.commit(self._positions)
        for topic, rows in (
            (EVENTS, len(left)), (ITEMS, len(self._items)), (USERS, len(self._users))
        ):  # fmt: skip
            self.metrics.archived.labels(topic).inc(rows)
        for (topic, partition), offset in self._positions.items():
            self.metrics.position.labels(GROUP, topic, partition).set(offset)

    def _write_marks(self) -> None:
        for partition, marks in self._marks.items():
            needed_from = self._newest.get(partition, 0) - self._keep_marks
            kept = {user_id: moment for user_id, moment in marks.items() if moment >= needed_from}
            if self._erased or kept != marks:
                known = kept.keys() & self._erased_at.keys()
                times = {user_id: self._erased_at[user_id] for user_id in sorted(known)}
                self._archive.marks.write(partition, kept, times)
                self._marks[partition] = kept
        marked = {user_id for marks in self._marks.values() for user_id in marks}
        self._erased_at = {each: at for each, at in self._erased_at.items() if each in marked}

    def _segment_name(self) -> str:
        first = self._first
        if first is None:
            raise RuntimeError("a segment of nothing has no name.")
        (topic, partition), at = first.source, first.offset
        # The end too: one who lost the partition must not replace what its new owner wrote. And
        # the moment: in a topic that was made anew offsets come again.
        end = self._positions[first.source]
        return f"{LIVE}{topic}-{partition:05d}-{first.moment:015d}-{at:020d}-{end:020d}"

    def _clear(self) -> None:
        self._first = None
        self._bytes = 0
        self._events: list[Event] = []
        self._moments: list[int] = []
        self._appended_at: list[int | None] = []
        self._items: dict[str, Item | None] = {}
        self._users: dict[str, User] = {}
        self._erased: dict[str, int] = {}
        self._newest: dict[int, int] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._flush_due = 0.0
