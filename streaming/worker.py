"""The stream worker: from the log to histories, statistics, embeddings and the online store."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_repo.event_log import (
    CO_PARTITIONED,
    DEAD_LETTERS,
    EVENTS,
    EventLog,
    LogRecord,
    TopicPartition,
)
from feature_repo.history import DEFAULT_MAX_LENGTH
from feature_repo.online_features import CoVisitation, ItemStatistics, OnlineFeatures
from streaming.applied import AppliedNotifier
from streaming.batch_poller import BatchPoller
from streaming.batches import Batch, decode_batches
from streaming.dead_letters import encode_dead_letter
from streaming.decode import Decoder
from streaming.erasures import keep_marks
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.outbox_relay import OutboxRelay
from streaming.processor import Folded, process
from streaming.publisher import Publisher
from streaming.reencoding import UserReencoder
from streaming.retrying import Retrying
from streaming.served_model import ServedModel
from streaming.settings import StreamingSettings
from streaming.store_watch import StoreWatch
from streaming.stream_state import (
    AGAIN,
    OpenState,
    Slice,
    StateConflict,
    Unpushed,
    additive_keys,
    stamp_of,
    whole_values,
)
from streaming.stream_thread import StreamThread
from streaming.updates import Updates
from streaming.worker_positions import WorkerPositions

GROUP = "worker"
TOPICS = CO_PARTITIONED
STOP_SECONDS = 10.0
IDLE_SECONDS = 0.25
CATCH_UP_SECONDS = 0.05
"""How often a starting worker checks whether the encoder has caught up with the changelog."""
REENCODING_SECONDS = (0.02, 1.0)
"""The pause between two pages of users to re-encode: while no events come, and while they do."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is committed to the state, and the values of it to push at once."""

    batch: Batch
    folded: Folded
    unpushed: Unpushed


class Worker(StreamThread):
    """Consumes the topics events, items and users in micro-batches, in one thread of its own.

    It keeps `state`, and pushes to `online`.

    max_history: events kept per user. caught_up: whether the model's encoder has the embeddings
    of all items in the changelog. on_statistics, on_co_visitation: called with those that are
    pushed, and at the start with all. clock: gives the time of day. monotonic: a clock in seconds,
    with any start.
    """

    def __init__(
        self,
        log: EventLog,
        online: OnlineFeatures,
        state: OpenState,
        model: ServedModel,
        *,
        settings: StreamingSettings | None = None,
        max_history: int = DEFAULT_MAX_LENGTH,
        caught_up: Callable[[], bool] = lambda: True,
        applied: AppliedNotifier | None = None,
        on_statistics: Callable[[Sequence[ItemStatistics]], None] | None = None,
        on_co_visitation: Callable[[Sequence[CoVisitation]], None] | None = None,
        metrics: StreamMetrics | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings = settings or StreamingSettings()
        self.metrics = metrics = metrics or StreamMetrics()
        super().__init__("stream-worker", STOP_SECONDS, Retrying(settings, metrics))
        self.applied = applied or AppliedNotifier()
        self._log = log
        self._state = state
        self._learner = Learner(state, model, settings, metrics)
        publisher = Publisher(log, online, state, model, metrics, clock, settings)
        self._relay = OutboxRelay(
            state,
            publisher,
            self._retrying,
            settings.statistics_seconds,
            on_statistics,
            on_co_visitation,
            monotonic,
        )
        pause = settings.max_retry_seconds
        self._reencoder = UserReencoder(state, online, model, publisher, metrics, pause, monotonic)
        self._watch = StoreWatch(state, online, pause, monotonic)
        self._max_history = max_history
        self._keep_marks = keep_marks(log, settings)
        self._caught_up = caught_up
        self._clock = clock
        self._monotonic = monotonic
        self._decoder = Decoder.of(settings)
        self._positions = WorkerPositions(state, monotonic)
        self._consumer = log.consumer(GROUP, TOPICS, self._assigned)
        self._poller = BatchPoller(
            self._consumer, settings.batch_records, settings.batch_bytes, settings.linger_seconds
        )
        # How long a poll waits for records, and when users were last re-encoded.
        self._patience = IDLE_SECONDS
        self._reencoded_at = 0.0
        self._ready = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether unfinished pushes of the last run are redone, and nothing has failed since."""
        return self._ready.is_set() and self.failure is None

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are assigned to this worker. Safe to read in any thread."""
        return self._consumer.assigned

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset to read of each partition that is assigned to this worker, if known."""
        # A partition that another worker has taken over is further by now than this one knows.
        assigned = self.assigned
        return {source: at for source, at in self._positions.known.items() if source in assigned}

    def _follow(self) -> None:
        self.recover()
        while not self._stop.is_set():
            self.step()
        self._relay.push_lists()
        self._commit_positions()

    def recover(self) -> None:
        """Redo the unfinished pushes of the last run, once the encoder has caught up.

        Before that it lacks items: a history would be embedded without them, and fold-in would
        move other items toward a taste that is made of half the history.
        """
        while not self._caught_up():
            if self._stop.wait(CATCH_UP_SECONDS):
                return
        # First: what is pushed before the store has its mark counts as lost.
        self._retrying("load", self._watch.step)
        self._retrying("load", self._relay.tell_all)
        self._relay.add(self._retrying("load", self._state.partitions))
        self._relay.push_lists()
        self._ready.set()

    def _assigned(
        self, committed: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, int]:
        """Return the state's positions: newly assigned partitions continue there."""
        stored = self._positions.assign(committed)
        self._relay.add(source.partition for source in stored if source in committed)
        return stored

    def step(self) -> int:
        """Carry one micro-batch through and return its number of records.

        1. Poll, decode, and group by partition.
        2. Append what cannot be decoded to the dead letters.
        3. For each partition, load the state, fold the changes into it, and learn from them.
        4. Commit new state, the list of unpushed keys, and positions, atomically. Where another
           worker has written the partition since, drop the batch and continue at the stored
           positions. Where that commit was this very one, whose answer was lost, go on.
        5. Embed; append item changes to the changelog; push to the online store.
        6. Take what was pushed off the list of unpushed keys.
        7. Notify those who wait for the batch.
        8. Commit the positions to the log, once a second and when there was nothing to read. In
           the latter case, check that the state was not emptied: nothing else reads it then.
        9. List everything again if the online store has lost data; push a page of the lists;
           re-encode a page of users.

        A crash before 4 repeats the batch from a state that has not seen it. A crash after 4
        repeats 5 and 6 from the state, which is idempotent: pushed values are whole. Only
        retention and lag depend on 8. No record is reported as applied before it is visible.
        """
        # 1. to 7.
        records = self._retrying("poll", self._poll)
        if records:
            start = time.perf_counter()
            self._carry(records)
            self.metrics.batches.observe(time.perf_counter() - start)
        # 8. After the push: replay is harmless, loss is not.
        if not records or self._positions.is_due:
            self._commit_positions()
        if not records:
            self._retrying("load", self._positions.look)
        # 9. Sums change with every event, so their lists wait a while. By the page: events first.
        if self._retrying("load", self._watch.step):
            self._relay.add([AGAIN])
        self._relay.step()
        self._reencode(idle=not records)
        return len(records)

    def _poll(self) -> list[LogRecord]:
        # While a page of the lists is due, do not wait for events.
        return self._poller.poll(0.0 if self._relay.is_due else self._patience)

    def _carry(self, records: Sequence[LogRecord]) -> None:
        """Do steps 1 to 7 of `step` with the polled records."""
        # 1. Decode, and group by partition.
        with self.metrics.stage("decode"):
            batches = decode_batches(records, self._decoder)
        # 2. Dead letters first: once the position is past a record, nothing else keeps it.
        most = self.settings.kafka.max_letter_bytes
        letters = [encode_dead_letter(each, most) for batch in batches for each in batch.dead]
        if letters:
            self._retrying("dead letters", lambda: self._log.append(DEAD_LETTERS, letters))
        # 3. and 4. Commit before push: a push can be redone from the state, and no record can be
        # in a history but not in the counts.
        attempted = [self._fold(batch) for batch in batches]
        committed = [each for each in attempted if each is not None]
        # 5. and 6.
        self._relay.push([(each.batch.partition, each.unpushed) for each in committed])
        for each in committed:
            self._positions.may_tell(each.batch)
            # 7. Notify those who wait.
            self.applied.notify(each.batch.sources(each.batch.positions))
            self._measure(each)

    def _fold(self, batch: Batch) -> Committed | None:
        """Fold the batch and commit it; return None where another worker owns the partition now."""
        partition = batch.partition
        # 3. Load, fold and learn.
        before = self._retrying(
            "load", lambda: self._state.load(partition, batch.user_ids, batch.item_ids)
        )
        stored = batch.sources(before.positions)
        if not self._positions.follows(batch, stored):
            self._give_way(batch, stored)
            return None
        now = int(self._clock().timestamp() * 1_000)
        with self.metrics.stage("fold"):
            folded = process(batch.changes, before, self._max_history, self._keep_marks, now)
        # A second read: only the folded histories tell which items co-occur with the batch's.
        learned = self._retrying("learn", lambda: self._learner.learn(partition, folded))
        updates = Updates.together([folded.updates, learned])
        # 4. Commit.
        try:
            stamp = self._retrying(
                "commit state",
                lambda: self._state.commit(partition, before.version, updates, batch.positions),
            )
        except StateConflict:
            after = self._retrying("load", lambda: self._state.load(partition, (), ()))
            if not _is_next(batch, before, after):
                self._give_way(batch, batch.sources(after.positions))
                return None
            stamp = stamp_of(partition, after.version)
        self._positions.move(batch)
        self._relay.add([partition], len(additive_keys(updates)))
        return Committed(batch, folded, whole_values(updates, stamp))

    def _give_way(self, batch: Batch, stored: Mapping[TopicPartition, int]) -> None:
        """Drop the batch, and continue where another worker has left the partition."""
        self._positions.move_to(stored, batch)
        # One of the commits since may be ours, its answer lost: its keys are still to be pushed.
        self._relay.add([batch.partition])
        self._logger.warning("partition_taken_over", partition=batch.partition)
        self.metrics.retries.labels("commit state").inc()
        left_at = {**batch.sources(batch.first), **stored}
        # A Kafka's consumer asks the brokers for the partitions' offsets.
        self._retrying("poll", lambda: self._consumer.seek(left_at))

    def _commit_positions(self) -> None:
        if self._positions.untold:
            self._retrying("commit", lambda: self._consumer.commit(self._positions.untold))
        self._positions.told()

    def _reencode(self, *, idle: bool) -> None:
        """Re-encode a page of users when idle, or when the last page is too long ago."""
        short, long = REENCODING_SECONDS
        if not idle and self._monotonic() - self._reencoded_at < long:
            return
        self._patience = short if self._reencoder.step() else IDLE_SECONDS
        self._reencoded_at = self._monotonic()

    def _measure(self, committed: Committed) -> None:
        batch, folded = committed.batch, committed.folded
        results = self.metrics.records.labels
        results(EVENTS, "applied").inc(len(folded.acts))
        results(EVENTS, "repeated").inc(folded.repeated)
        results(EVENTS, "erased").inc(folded.erased)
        others = len(batch.changes) - len(folded.acts) - folded.repeated - folded.erased
        results("items and users", "applied").inc(others)
        for letter in batch.dead:
            results(letter.record.source.topic, "dead").inc()
        for topic, offset in batch.positions.items():
            self.metrics.position.labels(GROUP, topic, batch.partition).set(offset)


def _is_next(batch: Batch, before: Slice, after: Slice) -> bool:
    """Return whether `after` is the state that committing the batch over `before` leads to.

    Then either our commit succeeded, but its answer was lost and the retry refused; or another
    worker has folded the same records into the same state, and so stored the same values.
    """
    is_one_commit = after.version == before.version + 1
    return is_one_commit and after.positions == before.positions | batch.positions
