"""The stream worker: from the log to histories, statistics, embeddings and the online store."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from feature_repo.event_log import (
    DEAD_LETTERS,
    EVENTS,
    ITEMS,
    USERS,
    EventLog,
    EventLogError,
    LogRecord,
    TopicPartition,
)
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import CoVisitation, ItemStatistics, OnlineFeatures
from feature_repo.schema import Event, Item
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder
from streaming.applied import AppliedNotifier, RecordId
from streaming.checkpoint import Checkpoint, CheckpointError
from streaming.dead_letters import DeadLetter, encode_dead_letter
from streaming.decode import Change, DecodeError, Decoder, ItemRemoved
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.moved_embeddings import MovedEmbeddings
from streaming.processor import Updates, process
from streaming.publisher import Publisher
from streaming.settings import StreamingSettings

GROUP = "worker"
TOPICS = (EVENTS, ITEMS, USERS)
IDLE_SECONDS = 0.25

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """A polled micro-batch, decoded.

    positions: the next offset of each partition after it.
    """

    changes: Sequence[Change]
    dead: Sequence[DeadLetter]
    positions: dict[TopicPartition, int]


class Worker:
    """Reads the topics events, items and users in one thread of its own.

    encoder: gives the current bundle's encoder, or None while there is none.
    space: gives the scale of that bundle's candidates; without it no embedding moves.
    on_statistics, on_co_visitation: are told those that changed, and all of them at the start.
    """

    def __init__(
        self,
        log: EventLog,
        online: OnlineFeatures,
        checkpoint: Checkpoint,
        encoder: Callable[[], Encoder | None],
        *,
        settings: StreamingSettings | None = None,
        max_history: int = DEFAULT_MAX_LENGTH,
        space: Callable[[], CandidateSpace | None] = lambda: None,
        applied: AppliedNotifier | None = None,
        on_statistics: Callable[[Sequence[ItemStatistics]], None] | None = None,
        on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None = None,
        metrics: StreamMetrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings or StreamingSettings()
        self.applied = applied or AppliedNotifier()
        self.metrics = metrics or StreamMetrics()
        self.failure: BaseException | None = None
        self._log = log
        self._checkpoint = checkpoint
        moved = MovedEmbeddings(checkpoint, space, self.settings.fold_in)
        self._publisher = Publisher(log, online, encoder, self.metrics, clock, moved)
        self._learner = Learner(checkpoint, online, encoder, space, self.settings, self.metrics)
        self._max_history = max_history
        self._on_statistics = on_statistics or (lambda _: None)
        self._on_co_visitation = on_co_visitation or (lambda _: None)
        self._clock = clock
        self._decoder = Decoder(
            self.settings.event_types, timedelta(seconds=self.settings.max_future_seconds)
        )
        self._consumer = log.consumer(GROUP, TOPICS)
        self._unpushed = Updates()
        self._statistics_due = 0.0
        self._fold_in_due = 0.0
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self.run, name="stream-worker", daemon=True)
        self._logger = structlog.get_logger(__name__)

    @property
    def ready(self) -> bool:
        """Whether what a crash left behind is redone and the stream is being followed."""
        return self._ready.is_set() and self.failure is None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the batch in hand, push what is left, and return once the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._consumer.close()

    def run(self) -> None:
        """Recover, then carry batch after batch through until `stop`."""
        try:
            self.recover()
            while not self._stop.is_set():
                self.step()
            self._push_all()
        except BaseException as error:
            self.failure = error
            self._logger.exception("stream_worker_failed")
            if not isinstance(error, Exception):
                raise

    def recover(self) -> None:
        """Take up the state of the last run: redo its unfinished pushes, continue its log."""
        for statistics in self._checkpoint.all_statistics():
            self._on_statistics(statistics)
        for co_visitation in self._checkpoint.all_co_visitation():
            self._on_co_visitation(co_visitation)
        # The checkpoint's positions, not the group's: state and position must be of one moment.
        self._consumer.seek(self._checkpoint.positions())
        while unpushed := self._checkpoint.unpushed():
            self._unpushed = unpushed
            self._push_all()
        self._ready.set()

    def step(self) -> int:
        """Carry one micro-batch through and return its number of records.

        1. Poll and decode.
        2. Append what cannot be decoded to the dead letters.
        3. Fold the changes into the state before them.
        4. Checkpoint: new state, what is unpushed, and positions, in one transaction.
        5. Embed; append item changes to the changelog; push to the online store.
        6. Forget what was pushed.
        7. Commit the positions to the log.
        8. Tell those who wait.

        A crash before 4 repeats the batch from a state that has not seen it. A crash after 4
        repeats 5 and 6 from the checkpoint: pushes are whole values, so twice is once. 7 serves
        retention and lag only. Nothing is told to have been applied before it is visible.
        """
        # 1. Poll and decode.
        records = self._retrying("poll", self._poll)
        start = time.perf_counter()
        if records:
            with self.metrics.stage("decode"):
                batch = self._decode(records)
            # 2. Dead letters first: once the position is past a record, nothing else keeps it.
            if batch.dead:
                letters = [encode_dead_letter(letter) for letter in batch.dead]
                self._retrying("dead letters", lambda: self._log.append(DEAD_LETTERS, letters))
            # 3. Fold.
            updates = self._retrying("fold", lambda: self._fold(batch.changes))
            # 4. Checkpoint before push: what is pushed can be redone from it, and no record
            # can be in a history but not in the counts.
            self._retrying("checkpoint", lambda: self._checkpoint.commit(updates, batch.positions))
            self._unpushed.add(updates)
            # 5. and 6.
            self._push_due()
            # 7. Commit after push: replay is harmless, loss is not.
            self._retrying("commit", lambda: self._consumer.commit(batch.positions))
            # 8. Tell those who wait.
            self._on_statistics(list(updates.statistics.values()))
            self._on_co_visitation(list(updates.co_visitation.values()))
            self.applied.notify(_id_of(change) for change in batch.changes)
            self._measure(batch, updates, time.perf_counter() - start)
        else:
            self._push_due()
        return len(records)

    def _poll(self) -> list[LogRecord]:
        most = self.settings.batch_records
        records = self._consumer.poll(most, IDLE_SECONDS)
        deadline = time.monotonic() + self.settings.linger_seconds
        while records and len(records) < most and (left := deadline - time.monotonic()) > 0:
            try:
                records += self._consumer.poll(most - len(records), left)
            except EventLogError:
                break  # What is polled already must not be lost; the next poll says it again.
        return records

    def _decode(self, records: Sequence[LogRecord]) -> Batch:
        now = self._clock()
        changes: list[Change] = []
        dead: list[DeadLetter] = []
        for record in records:
            try:
                changes.append(self._decoder.decode(record, now))
            except DecodeError as error:
                dead.append(DeadLetter(record, str(error)))
                self._logger.warning(
                    "record_refused",
                    topic=record.source.topic,
                    offset=record.offset,
                    reason=str(error),
                )
        positions: dict[TopicPartition, int] = {}
        for record in records:
            positions[record.source] = record.offset + 1
        return Batch(changes, dead, positions)

    def _fold(self, changes: Sequence[Change]) -> Updates:
        with self.metrics.stage("fold"):
            events = [change for change in changes if isinstance(change, Event)]
            histories = self._checkpoint.histories({event.user_id for event in events})
            statistics = self._checkpoint.statistics({event.item_id for event in events})
            updates = process(changes, histories, statistics, self._max_history)
        with self.metrics.stage("learn"):
            self._learner.learn(updates, histories)
        return updates

    def _push_due(self) -> None:
        """Push what is not of items, and what is too when it is time: it changes most."""
        now, unpushed = time.monotonic(), self._unpushed
        if now >= self._statistics_due:
            self._statistics_due = now + self.settings.statistics_seconds
            statistics, co_visitation = {}, {}
        else:
            statistics, co_visitation = unpushed.statistics, unpushed.co_visitation
            unpushed.statistics, unpushed.co_visitation = {}, {}
        fold_in = {}
        if now >= self._fold_in_due:
            self._fold_in_due = now + self.settings.fold_in.seconds
        else:
            fold_in, unpushed.fold_in = unpushed.fold_in, {}
        self._push_all()
        self._unpushed = Updates(
            statistics=statistics, co_visitation=co_visitation, fold_in=fold_in
        )

    def _push_all(self) -> None:
        unpushed = self._unpushed
        if unpushed:
            # What a store raises when it is down is its own affair.
            self._retrying("push", lambda: self._publisher.publish(unpushed), (Exception,))
            self._retrying("checkpoint", lambda: self._checkpoint.forget_pushed(unpushed))
        self._unpushed = Updates()

    def _retrying(
        self,
        stage: str,
        action: Callable[[], T],
        errors: tuple[type[Exception], ...] = (EventLogError, CheckpointError),
    ) -> T:
        """Return what `action` returns, however often it has to be tried.

        A store that is down holds the stream up; it loses nothing. Raises the last error once
        the worker is told to stop.
        """
        pause = self.settings.retry_seconds
        while True:
            try:
                with self.metrics.stage(stage):
                    return action()
            except errors as error:
                if self._stop.is_set():
                    raise
                self.metrics.retries.labels(stage).inc()
                self._logger.warning("step_failed", stage=stage, error=str(error), retry_in=pause)
                self._stop.wait(pause)
                pause = min(pause * 2, self.settings.max_retry_seconds)

    def _measure(self, batch: Batch, updates: Updates, seconds: float) -> None:
        results = self.metrics.records.labels
        results(EVENTS, "applied").inc(len(updates.acts))
        results(EVENTS, "repeated").inc(updates.repeated)
        others = len(batch.changes) - len(updates.acts) - updates.repeated
        results("items and users", "applied").inc(others)
        results(EVENTS, "dead").inc(len(batch.dead))
        self.metrics.batches.observe(seconds)
        for (topic, _), offset in batch.positions.items():
            self.metrics.position.labels(GROUP, topic).set(offset)


def _id_of(change: Change) -> RecordId:
    if isinstance(change, Event):
        return EVENTS, change.event_id
    if isinstance(change, Item | ItemRemoved):
        return ITEMS, change.item_id
    return USERS, change.user_id
