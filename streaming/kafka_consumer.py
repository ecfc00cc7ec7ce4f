"""A `LogConsumer` of a `KafkaLog`: alone with every partition, or as a member of a group."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as Place
from kafka.errors import CommitFailedError, RebalanceInProgressError
from kafka.partitioner.default import murmur2

from feature_repo.event_log import (
    CO_PARTITIONED,
    EventLogError,
    LogRecord,
    LostPositionError,
    Positions,
    TopicPartition,
)
from streaming.kafka_connection import COMMITTED, KafkaConnection
from streaming.kafka_topics import APPEND_TIME, LATEST_MILLISECONDS, in_milliseconds
from streaming.number_assignor import NumberAssignor

# A broker holds a fetch back for so long while there is nothing new. Partitions that a seek or an
# assignment adds meanwhile wait for the next fetch.
FETCH_WAIT_MILLISECONDS = 100
# kafka-python's poll goes on after an assignment, but we have to say where to continue: so it is
# called for short slices of time.
SLICE_SECONDS = 0.1
# After so long without records, the brokers are asked whether they are still there.
PROBE_SECONDS = 5.0
# How often it is looked whether offsets were passed that hold no record.
GAP_SECONDS = 1.0
# The type of a record's timestamp where the broker set it: the protocol's number.
LOG_APPEND_TIME = 1


class KafkaLogConsumer:
    """Connects with the first poll, so that it can be made while the broker is down.

    A newly assigned partition stays paused until it has been placed: at the position that
    `positions` gives, else where the group committed, else at its start.

    on_misplaced: called with the partition and offset of a record whose key hashes to another one.
    on_gap: called with a partition, and two offsets from the first of which it holds no record
    before the second: only markers of transactions, and what was aborted.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group: str | None,
        topics: Sequence[str],
        positions: Positions,
        on_close: Callable[["KafkaLogConsumer"], None],
        on_misplaced: Callable[[TopicPartition, int], None],
        on_gap: Callable[[TopicPartition, int, int], None],
    ) -> None:
        self._connection = connection
        self._group = group
        self._topics = {connection.topic(topic): topic for topic in topics}
        self._stored_positions = positions
        self._on_close = on_close
        self._on_misplaced = on_misplaced
        self._on_gap = on_gap
        # How many partitions each topic has, at the broker's name.
        self._counts: Counter[str] = Counter()
        self._milliseconds = int(connection.settings.timeout_seconds * 1_000)
        self._consumer: Any = None
        # Its `generation` is that of the last assignment: joined is one who has been given one.
        self._assignor = NumberAssignor()
        # What has been given to this consumer, and what of it is not placed yet.
        self._taken: set[Place] = set()
        self._unplaced: set[Place] = set()
        # Where each partition ended when it was placed, until that end is reached.
        self._ends: dict[Place, int] = {}
        # The offset after the last record that was returned, or where each partition was placed.
        self._after: dict[Place, int] = {}
        self._gaps_due = 0.0
        self._uncommitted: dict[Place, int] = {}
        self._heard = 0.0
        self._warned: set[str] = set()
        self._closed = False
        self._logger = structlog.get_logger(__name__)

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are assigned and placed. Safe to read in any thread."""
        # Copies: kafka-python's thread may change both meanwhile.
        return frozenset(map(self._ours, self._taken.copy() - self._unplaced.copy()))

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` next records; wait up to `timeout` seconds for the first.

        Waits longer, up to the setting `timeout_seconds`, to join the group, and for the records
        that were in the partitions when they were placed. Raises `EventLogError`.
        """
        start = time.monotonic()
        with self._connection.reporting("cannot be read"):
            self._opened()
        while True:
            self._place()
            with self._connection.reporting("cannot be read"):
                # Before records are fetched: kafka-python returns them once, and this may raise.
                self._look_for_gaps()
                left = start + timeout - time.monotonic()
                wait = SLICE_SECONDS if self._is_behind() else min(max(left, 0.0), SLICE_SECONDS)
                records = self._fetched(max_records, wait)
                now = time.monotonic()
                if records:
                    # kafka-python returns these once: an error is raised by the next call instead.
                    with suppress(EventLogError):
                        self._commit_again()
                    return records
                self._probe(now)
                if self._is_behind():
                    if now - start > self._connection.settings.timeout_seconds:
                        raise EventLogError(f"{self._connection}: {self._waits_for()}.")
                elif now >= start + timeout:
                    self._commit_again()
                    return []

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        """Return up to `max_records` records that come within `timeout` seconds.

        Places no partition, repeats no commit, and asks no silent broker whether it is there:
        each of these may take up to the setting `timeout_seconds`, and the next poll does them.
        """
        with self._connection.reporting("cannot be read"):
            self._opened()
            return self._fetched(max_records, timeout)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Continue at the given offsets; partitions that are not assigned now are left out."""
        self._move(self._mine(positions))

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        """Commit, for the group, the next offset to read of each partition that is still assigned.

        What a rebalance refuses is committed with the next poll or commit.
        """
        if self._group is None:
            raise EventLogError("a consumer without a group cannot commit.")
        self._uncommitted |= self._mine(positions)
        self._commit_again()

    def close(self) -> None:
        """Leave the group without committing."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
            if self._consumer is not None:
                self._consumer.close(autocommit=False, timeout_ms=self._milliseconds)

    def take(self, places: Collection[Place]) -> None:
        """Pause the newly assigned partitions until they are placed."""
        for place in places:
            # With any position at all, kafka-python does not choose one.
            self._consumer.seek(place, 0)
            self._consumer.pause(place)
        self._taken.update(places)
        self._unplaced.update(places)

    def release(self, places: Collection[Place]) -> None:
        """Forget partitions that are another consumer's now."""
        self._taken.difference_update(places)
        self._unplaced.difference_update(places)
        for place in places:
            self._ends.pop(place, None)
            self._after.pop(place, None)
            self._uncommitted.pop(place, None)

    def _fetched(self, max_records: int, seconds: float) -> list[LogRecord]:
        polled = self._consumer.poll(timeout_ms=seconds * 1_000, max_records=max_records)
        if polled:
            self._heard = time.monotonic()
        for some in polled.values():
            # The first alone: hashing every key would cost a worker microseconds for each event.
            self._look_at_place(some[0])
        self._after |= {place: some[-1].offset + 1 for place, some in polled.items()}
        return [self._record(each) for some in polled.values() for each in some]

    def _opened(self) -> Any:
        if self._closed:
            raise EventLogError(f"{self._connection}: the consumer is closed.")
        if self._consumer is not None:
            return self._consumer
        places = self._all_partitions()
        self._counts = Counter(place.topic for place in places)
        settings = self._connection.settings
        options: dict[str, Any] = {}
        if self._group is not None:
            options = {
                "group_id": self._connection.group(self._group),
                "partition_assignment_strategy": [self._assignor],
                "session_timeout_ms": int(settings.session_timeout_seconds * 1_000),
                "heartbeat_interval_ms": int(settings.session_timeout_seconds * 1_000 / 3),
                "max_poll_interval_ms": int(settings.max_poll_seconds * 1_000),
            }
        consumer = self._connection.client(
            KafkaConsumer,
            **options,
            metrics_enabled=False,
            enable_auto_commit=False,
            # A position that is gone must raise, not be reset.
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            isolation_level=COMMITTED,
            request_timeout_ms=self._milliseconds,
            fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
            fetch_max_bytes=settings.max_fetch_bytes,
            max_partition_fetch_bytes=min(settings.max_fetch_bytes, 2**20),
        )
        if self._group is None:
            consumer.assign(places)
        else:
            consumer.subscribe(list(self._topics), listener=_Listener(self))
        try:
            # Loads the metadata: a group's leader that knows no partitions would assign none.
            consumer.end_offsets(places, timeout_ms=self._milliseconds)
        except BaseException:
            consumer.close()
            raise
        self._consumer = consumer
        self._heard = time.monotonic()
        if self._group is None:
            self.take(places)
        return consumer

    def _all_partitions(self) -> list[Place]:
        with self._connection.admin("cannot be read") as admin:
            described = admin.describe_topics(list(self._topics))
        for topic in described:
            if topic["error_code"]:
                raise EventLogError(
                    f"{self._connection}: there is no topic {topic['name']!r}. "
                    "To create it: riverrun topics create"
                )
        return [
            Place(topic["name"], partition["partition_index"])
            for topic in described
            for partition in topic["partitions"]
        ]

    def _place(self) -> None:
        """Seek and resume the partitions that were assigned since the last call."""
        if not self._unplaced:
            return
        places = sorted(self._unplaced)
        with self._connection.reporting("cannot be read"):
            committed = {place: self._committed(place) for place in places}
        # Asked after the group's positions: the stored ones are then no older than these.
        given = self._mine(
            self._stored_positions({self._ours(place): at for place, at in committed.items()})
        )
        positions = {place: at for place, at in committed.items() if at is not None}
        positions |= {place: given[place] for place in places if place in given}
        with self._connection.reporting("cannot be read"):
            new = [place for place in places if place not in positions]
            positions |= self._consumer.beginning_offsets(new, timeout_ms=self._milliseconds)
        self._move(positions)
        self._consumer.resume(*places)
        self._unplaced.clear()

    def _committed(self, place: Place) -> int | None:
        if self._group is None:
            return None
        offset: int | None = self._consumer.committed(place, timeout_ms=self._milliseconds)
        return offset

    def _move(self, positions: Mapping[Place, int]) -> None:
        if not positions:
            return
        with self._connection.reporting("cannot be read"):
            starts = self._consumer.beginning_offsets(positions, timeout_ms=self._milliseconds)
            ends = self._consumer.end_offsets(positions, timeout_ms=self._milliseconds)
            # These are before an open transaction, and a group may have been moved beyond it.
            beyond = [place for place, position in positions.items() if position > ends[place]]
            held = ends | self._connection.high_watermarks(beyond)
        for place, position in positions.items():
            if not starts[place] <= position <= held[place]:
                raise LostPositionError(
                    f"{self._connection}: {place.topic}/{place.partition} holds offsets "
                    f"{starts[place]} to {held[place]}, not position {position}. "
                    "Was the topic made anew, or its retention too short? "
                    "With all workers stopped, `riverrun rebuild` goes on from the archive."
                )
        for place, position in positions.items():
            self._consumer.seek(place, position)
        self._after |= positions
        self._ends |= ends

    def _is_behind(self) -> bool:
        """Whether to wait beyond the caller's timeout: to join, or for records that are there."""
        if not self._is_member():
            return True
        for place, end in list(self._ends.items()):
            if self._consumer.position(place, timeout_ms=0) >= end:
                del self._ends[place]
        # kafka-python assigns first, and calls its listener afterwards.
        return bool(self._unplaced or self._ends or self._consumer.assignment() - self._taken)

    def _is_member(self) -> bool:
        """Whether partitions were assigned, even if none; without a group always.

        To be in a generation of the group is not enough: the assignment comes after it.
        """
        if self._group is None:
            return True
        assigned: bool = self._assignor.generation >= 0
        return assigned and self._consumer.group_metadata().generation_id >= 0

    def _waits_for(self) -> str:
        if self._is_member():
            return "does not answer"
        return f"group {self._group!r} is not joined yet: a broker or another member is slow"

    def _probe(self, now: float) -> None:
        """Raise where the brokers are gone: kafka-python's poll then just returns nothing."""
        if now - self._heard > PROBE_SECONDS:
            self._consumer.end_offsets(self._consumer.assignment(), timeout_ms=self._milliseconds)
            self._heard = time.monotonic()

    def _look_for_gaps(self) -> None:
        if time.monotonic() < self._gaps_due:
            return
        self._gaps_due = time.monotonic() + GAP_SECONDS
        for place in self._after.keys() & (self._taken - self._unplaced):
            position = self._consumer.position(place, timeout_ms=0)
            if position > self._after[place]:
                self._on_gap(self._ours(place), self._after[place], position)

    def _commit_again(self) -> None:
        if not self._uncommitted:
            return
        # -1: the epoch of the record before is not known here.
        offsets = {
            place: OffsetAndMetadata(offset, "", -1) for place, offset in self._uncommitted.items()
        }
        with self._connection.reporting("cannot commit"):
            try:
                self._consumer.commit(offsets, timeout_ms=self._milliseconds)
            except (CommitFailedError, RebalanceInProgressError):
                # Only a poll carries a rebalance on: what is still ours after it is committed
                # then.
                return
        self._uncommitted.clear()

    def _mine(self, positions: Mapping[TopicPartition, int]) -> dict[Place, int]:
        if self._consumer is None:
            return {}
        assigned = self._consumer.assignment()
        named = {
            Place(self._connection.topic(topic), partition): offset
            for (topic, partition), offset in positions.items()
        }
        return {place: offset for place, offset in named.items() if place in assigned}

    def _ours(self, place: Place) -> TopicPartition:
        return TopicPartition(self._topics[place.topic], place.partition)

    def _record(self, record: Any) -> LogRecord:
        key = None if record.key is None else record.key.decode("utf-8", "surrogateescape")
        source = TopicPartition(self._topics[record.topic], record.partition)
        if record.timestamp_type != LOG_APPEND_TIME:
            self._warn_of_clock(source.topic)
        # Old producers leave the timestamp out, and the broker may set none: such a record counts
        # as older than all others.
        moment = in_milliseconds(max(record.timestamp or 0, 0))
        # That of a clock which is so far ahead says nothing of when the log took the record.
        appended_at = moment if 0 < moment < LATEST_MILLISECONDS else None
        return LogRecord(source, record.offset, key, record.value, moment, appended_at)

    def _look_at_place(self, record: Any) -> None:
        source = self._ours(record)
        if source.topic in CO_PARTITIONED and record.key is not None:
            partition = (murmur2(record.key) & 0x7FFFFFFF) % self._counts[record.topic]
            if partition != source.partition:
                self._on_misplaced(source, record.offset)

    def _warn_of_clock(self, topic: str) -> None:
        if topic in CO_PARTITIONED and topic not in self._warned:
            self._warned.add(topic)
            self._logger.warning("moments_are_the_producers", topic=topic, wanted=APPEND_TIME)


class _Listener(ConsumerRebalanceListener):
    """Called by kafka-python's own thread while `poll` waits for it."""

    def __init__(self, consumer: KafkaLogConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Collection[Place]) -> None:
        self._consumer.take(assigned)

    def on_partitions_revoked(self, revoked: Collection[Place]) -> None:
        self._consumer.release(revoked)
