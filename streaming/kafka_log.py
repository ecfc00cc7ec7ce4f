"""A Kafka as a `GroupedLog`."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import structlog
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Place
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    KafkaTimeoutError,
    NotCoordinatorError,
)
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from feature_repo.event_log import EventLogError, Message, Positions, TopicPartition
from streaming.kafka_connection import COMMITTED, KafkaConnection
from streaming.kafka_consumer import FETCH_WAIT_MILLISECONDS, KafkaLogConsumer
from streaming.kafka_topics import count_partitions

PARTITIONER = "murmur2_random"
"""librdkafka's name of the partitioner that all producers have to use: a key has one partition."""

REST_SECONDS = 0.5
"""How long after an attempt to reach a broker has failed no other is made."""

_NO_COORDINATOR_YET = (
    CoordinatorNotAvailableError,
    CoordinatorLoadInProgressError,
    NotCoordinatorError,
)
_COORDINATOR_SECONDS = 0.1


class KafkaLog:
    """The topics of one shop. Connects when it is first used.

    Appends are acknowledged by all in-sync replicas, and by an idempotent producer, so that a
    retry of the client makes no duplicate and changes no order. Keys go to partitions by
    murmur2, as the Java client's do.

    misplaced: by topic, how many records were found in another partition than their key hashes to,
    put there by another partitioner. One record of each partition and poll is checked.
    """

    topics_share_an_order = False
    is_shared_out = True

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._milliseconds = int(connection.settings.timeout_seconds * 1_000)
        self._lock = threading.Lock()
        self._producer: Any = None
        self._made: Future[Any] = Future()
        self._made_again_at = 0.0
        self._watching = threading.Lock()
        self._watcher: Any = None
        self._consumers: set[KafkaLogConsumer] = set()
        self.misplaced: dict[str, int] = {}
        # The last offsets without a record that a consumer has passed: the first, and their end.
        self._gaps: dict[TopicPartition, tuple[int, int]] = {}
        self._logger = structlog.get_logger(__name__)
        self._closed = False

    def append(self, topic: str, messages: Sequence[Message]) -> dict[TopicPartition, int]:
        """Append in order; on return every message is durable, on an error some may be.

        Returns, by partition, the offset after the last message it got.

        Raises `EventLogError`, after the setting `timeout_seconds` where no broker answers.
        """
        try:
            encoded = [_encoded(message) for message in messages]
        except UnicodeEncodeError as error:
            raise EventLogError(f"{self._connection}: nothing was written: {error}.") from error
        name = self._connection.topic(topic)
        deadline = time.monotonic() + 2 * self._connection.settings.timeout_seconds
        with self._connection.reporting(f"cannot append to {name!r}"):
            producer = self._opened()
            try:
                sent = [producer.send(name, key=key, value=value) for key, value in encoded]
            except ValueError as error:
                # Both null, or a topic's name that no broker takes.
                raise EventLogError(f"{self._connection}: {error}.") from error
            try:
                done = [future.get(max(deadline - time.monotonic(), 0.0)) for future in sent]
            except KafkaError:
                self._give_up(producer)
                raise
        ends: dict[TopicPartition, int] = {}
        for place in done:
            source = TopicPartition(topic, place.partition)
            ends[source] = max(ends.get(source, 0), place.offset + 1)
        return ends

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> KafkaLogConsumer:
        """Read `topics` as a member of `group`, or every partition on its own without a group."""
        consumer = KafkaLogConsumer(
            self._connection,
            group,
            topics,
            positions or (lambda _: {}),
            self._forget,
            self._count_misplaced,
            self._note_gap,
        )
        with self._lock:
            self._consumers.add(consumer)
        return consumer

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return for each partition the offset after its newest record.

        A transaction ends with a marker, and one that was aborted leaves records that nobody
        reads. These count until a consumer of this object has passed them: no broker tells.
        Records of open transactions, and what follows them, do not count.
        """
        with self._watched() as watcher:
            places = self._places(watcher, topics)
            ends = watcher.end_offsets(list(places), timeout_ms=self._milliseconds)
        return {places[place]: self._before_gap(places[place], end) for place, end in ends.items()}

    def unread(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return, for each partition, the group's committed offset, or its start if later."""
        name = self._connection.group(group)
        with self._connection.reporting(f"cannot say where {name!r} is"):
            # Before its first group has a coordinator, a broker creates the topic of offsets.
            coordinated = Retrying(
                retry=retry_if_exception_type(_NO_COORDINATOR_YET),
                wait=wait_fixed(_COORDINATOR_SECONDS),
                stop=stop_after_delay(self._connection.settings.timeout_seconds),
                reraise=True,
            )
            committed = coordinated(self._committed, name)
        unread = self.starts(topics)
        for source, start in unread.items():
            place = Place(self._connection.topic(source.topic), source.partition)
            if place in committed:
                unread[source] = max(start, committed[place].offset)
        return unread

    def _committed(self, group: str) -> Any:
        # A new client each time: kafka-python never looks up again a coordinator that it found.
        with self._connection.client_for_admin() as admin:
            return admin.list_group_offsets(group)[group]

    def starts(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        """Return, for each partition, the first offset that retention has left."""
        with self._watched() as watcher:
            places = self._places(watcher, topics)
            starts = watcher.beginning_offsets(list(places), timeout_ms=self._milliseconds)
        return {places[place]: start for place, start in starts.items()}

    def close(self) -> None:
        """Close the connections, of consumers that are still open too."""
        with self._lock:
            self._closed = True
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.close()
        if self._watcher is not None:
            self._watcher.close()
        if self._producer is not None:
            _end(self._producer, self._connection.settings.timeout_seconds)

    @contextmanager
    def _watched(self) -> Iterator[Any]:
        """Give a consumer that only asks for offsets, to one thread at a time."""
        with self._connection.reporting("cannot be read"), self._watching:
            if self._watcher is None:
                self._watcher = self._connection.client(
                    KafkaConsumer,
                    metrics_enabled=False,
                    isolation_level=COMMITTED,
                    # To ask for a topic's partitions takes no time limit of its own.
                    request_timeout_ms=self._milliseconds,
                    fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
                )
            yield self._watcher

    def _places(self, watcher: Any, topics: Sequence[str]) -> dict[Place, TopicPartition]:
        return {
            Place(name, partition): TopicPartition(topic, partition)
            for topic in topics
            for name in [self._connection.topic(topic)]
            for partition in watcher.partitions_for_topic(name) or ()
        }

    def _give_up(self, producer: Any) -> None:
        """Close the producer, so that the next append makes a new one.

        kafka-python's idempotent producer may wait for ever for missing sequence numbers once a
        batch has expired, though the broker is back. Once a broker has refused a batch for good,
        all later ones fail with the same error.
        """
        with self._lock:
            if self._producer is producer:
                self._producer = None
        _end(producer, 0.0)

    def _forget(self, consumer: KafkaLogConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def _count_misplaced(self, source: TopicPartition, offset: int) -> None:
        topic, partition = source
        with self._lock:
            before = self.misplaced.get(topic, 0)
            self.misplaced[topic] = before + 1
        if not before:
            place = {"topic": topic, "partition": partition, "offset": offset}
            counts = self._counts()
            if len(set(counts.values())) > 1:
                self._logger.warning("partitions_were_raised", **place, partitions=counts)
            else:
                self._logger.warning("keys_are_placed_by_another_hash", **place, wanted=PARTITIONER)

    def _counts(self) -> dict[str, int]:
        try:
            return count_partitions(self._connection)
        except EventLogError:
            return {}

    def _note_gap(self, source: TopicPartition, start: int, end: int) -> None:
        with self._lock:
            known_start, known_end = self._gaps.get(source, (start, end))
            if end >= known_end:
                # A consumer that began in the middle of a gap knows less of it than others.
                joined = min(start, known_start) if start <= known_end else start
                self._gaps[source] = joined, end

    def _before_gap(self, source: TopicPartition, end: int) -> int:
        start, gap_end = self._gaps.get(source, (end, end))
        return start if gap_end == end else end

    def _opened(self) -> Any:
        """Return the producer. While one is being made all wait for that one, or hear its error.

        One after the other, the last would wait for as many timeouts as there are others. Who asks
        within `REST_SECONDS` of a failure hears of it at once: the others of many who wait.
        """
        with self._lock:
            if self._closed:
                raise EventLogError(f"{self._connection}: is closed.")
            if self._producer is not None:
                return self._producer
            made, is_first = self._made, time.monotonic() >= self._made_again_at
            if is_first:
                made = self._made = Future()
                # Until it is made, or has failed.
                self._made_again_at = math.inf
        if is_first:
            self._make(made)
        if (error := made.exception()) is not None:
            # Its traceback would hold what everybody was about to append.
            raise error.with_traceback(None)
        return made.result()

    def _make(self, made: "Future[Any]") -> None:
        """Make a producer, and give it, or why there is none, to all who wait for `made`."""
        milliseconds = int(self._connection.settings.timeout_seconds * 1_000)
        try:
            self._connection.reach()
            producer = self._connection.client(
                KafkaProducer,
                metrics_enabled=False,
                acks="all",
                enable_idempotence=True,
                delivery_timeout_ms=milliseconds,
                request_timeout_ms=milliseconds // 2,
                max_block_ms=milliseconds // 2,
                max_request_size=self._connection.settings.largest_request,
                allow_auto_create_topics=False,
            )
        except BaseException as error:  # noqa: BLE001 — raised by all who wait
            self._made_again_at = time.monotonic() + REST_SECONDS
            made.set_exception(error)
            return
        with self._lock:
            is_late = self._closed
            if not is_late:
                self._producer, self._made_again_at = producer, 0.0
        if is_late:
            made.set_exception(EventLogError(f"{self._connection}: is closed."))
            _end(producer, 0.0)
        else:
            made.set_result(producer)


def _end(producer: Any, seconds: float) -> None:
    try:
        producer.close(seconds)
    except KafkaTimeoutError:
        # While something is unsent, kafka-python waits and then leaves its thread running.
        producer._sender.force_close()


def _encoded(message: Message) -> tuple[bytes | None, bytes | None]:
    # Bytes that were no UTF-8 when they were polled become themselves again.
    key = None if message.key is None else message.key.encode("utf-8", "surrogateescape")
    return key, message.value
