"""The stream worker: from the log to histories, statistics, embeddings and the online store."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
from streaming.batches import Batch, decode_batches
from streaming.dead_letters import encode_dead_letter
from streaming.decode import Change, Decoder, ItemRemoved
from streaming.erasures import keep_marks
from streaming.learner import Learner
from streaming.metrics import StreamMetrics
from streaming.outbox_relay import OutboxRelay
from streaming.processor import Folded, process
from streaming.publisher import Publisher
from streaming.reencoding import UserReencoder
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.stream_state import (
    OpenState,
    StateConflict,
    StateError,
    StateLost,
    Unpushed,
    additive_keys,
    positions_of,
    whole_values,
)
from streaming.stream_thread import StreamThread
from streaming.updates import Updates

GROUP = "worker"
TOPICS = (EVENTS, ITEMS, USERS)
STOP_SECONDS = 10.0
IDLE_SECONDS = 0.25
REENCODING_SECONDS = (0.02, 1.0)
"""The pause between two pages of users to re-encode: while no events come, and while they do."""
COMMIT_SECONDS = 1.0
"""How long the log may be told nothing of where the worker is: only retention and lag go by it."""
BEHIND = 4
"""A worker that finds a full batch takes so many at once: it shares what each costs by itself."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A batch that is in the state, and what the online store is to be told of it at once."""

    batch: Batch
    folded: Folded
    unpushed: Unpushed


class Worker(StreamThread):
    """Reads the topics events, items and users in one thread of its own.

    encoder: gives the current bundle's encoder, or None while there is none.
    space: gives the scale of that bundle's candidates; without it no embedding moves.
    on_statistics, on_co_visitation: are told those that are pushed, and all of them at the start.
    """

    def __init__(
        self,
        log: EventLog,
        online: OnlineFeatures,
        state: OpenState,
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
        super().__init__("stream-worker", STOP_SECONDS)
        self.settings = settings or StreamingSettings()
        self.applied = applied or AppliedNotifier()
        self.metrics = metrics or StreamMetrics()
        self._log = log
        self._state = state
        self._retrying = Retrying(self.settings, self.metrics, self._stop)
        publisher = Publisher(log, online, encoder, self.metrics, clock, space, self.settings)
        self._on_statistics = on_statistics or (lambda _: None)
        self._on_co_visitation = on_co_visitation or (lambda _: None)
        self._relay = OutboxRelay(
            state,
            publisher,
            self._retrying,
            self.settings.statistics_seconds,
            self._on_statistics,
            self._on_co_visitation,
        )
        self._reencoder = UserReencoder(
            state, online, encoder, publisher, self.metrics, self.settings.max_retry_seconds
        )
        self._learner = Learner(state, encoder, space, self.settings, self.metrics)
        self._max_history = max_history
        self._keep_marks = keep_marks(log, self.settings)
        self._clock = clock
        self._decoder = Decoder(
            self.settings.event_types, timedelta(seconds=self.settings.max_future_seconds)
        )
        self._consumer = log.consumer(GROUP, TOPICS, self._assigned)
        # The worker's places in the log, where it has any.
        self._positions: dict[TopicPartition, int] = {}
        # What the log is to be told, and when; whether the last batch was full.
        self._uncommitted: dict[TopicPartition, int] = {}
        self._commit_due = 0.0
        self._full = False
        # How long an empty poll waits, and since when no user was re-encoded.
        self._patience = IDLE_SECONDS
        self._reencoded_at = 0.0
        self._ready = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether what a crash left behind is redone and the stream is being followed."""
        return self._ready.is_set() and self.failure is None

    @property
    def positions(self) -> dict[TopicPartition, int]:
        """The next offset to read of each partition that is this worker's and has one."""
        # What another worker has now is further than where this one left it.
        assigned = self._consumer.assigned
        return {source: at for source, at in dict(self._positions).items() if source in assigned}

    def _follow(self) -> None:
        self.recover()
        while not self._stop.is_set():
            self.step()
        self._relay.push_lists()
        self._commit_positions()

    def recover(self) -> None:
        """Take up the state of the last run: redo its unfinished pushes."""
        self._retrying("load", self._tell_items)
        self._relay.add(self._retrying("load", self._state.partitions))
        self._relay.push_lists()
        self._ready.set()

    def _tell_items(self) -> None:
        for statistics in self._state.all_statistics():
            self._on_statistics(statistics)
        for co_visitation in self._state.all_co_visitation():
            self._on_co_visitation(co_visitation)

    def _assigned(
        self, committed: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, int]:
        """Return where to continue the partitions that are this worker's from now on.

        The state's positions, not the group's: state and position must be of one moment. But
        what the group has committed was in the state before, whichever worker put it there.
        """
        stored = positions_of(self._state)
        for source, offset in committed.items():
            before = self._positions.get(source, offset)
            # What another worker may have committed since must not go back.
            self._uncommitted.pop(source, None)
            if source in stored:
                self._positions[source] = stored[source]
            elif before is not None:
                raise _lost(source, before)
        self._relay.add(source.partition for source in stored if source in committed)
        return stored

    def step(self) -> int:
        """Carry one micro-batch through and return its number of records.

        1. Poll, decode, and group by partition.
        2. Append what cannot be decoded to the dead letters.
        3. Of each partition, load the state, fold the changes into it, and learn from them.
        4. Commit new state, what is unpushed, and positions, atomically. Where another worker
           has written the partition since, forget its batch and continue at its positions.
        5. Embed; append item changes to the changelog; push to the online store.
        6. Forget what was pushed.
        7. Commit the positions to the log, once a second.
        8. Tell those who wait.

        A crash before 4 repeats the batch from a state that has not seen it. A crash after 4
        repeats 5 and 6 from the state: pushes are whole values, so twice is once. 7 serves
        retention and lag only. Nothing is told to have been applied before it is visible.
        """
        # 1. Poll, decode, and group by partition.
        records = self._retrying("poll", self._poll)
        start = time.perf_counter()
        if records:
            with self.metrics.stage("decode"):
                batches = decode_batches(records, self._decoder, self._clock())
            # 2. Dead letters first: once the position is past a record, nothing else keeps it.
            letters = [encode_dead_letter(letter) for batch in batches for letter in batch.dead]
            if letters:
                self._retrying("dead letters", lambda: self._log.append(DEAD_LETTERS, letters))
            # 3. and 4. Commit before push: what is pushed can be redone from the state, and no
            # record can be in a history but not in the counts.
            attempted = [self._fold(batch) for batch in batches]
            committed = [each for each in attempted if each is not None]
            # 5. and 6.
            self._relay.push([(each.batch.partition, each.unpushed) for each in committed])
            # 7. Commit after push: replay is harmless, loss is not.
            for each in committed:
                self._uncommitted |= each.batch.sources(each.batch.positions)
            # 8. Tell those who wait.
            for each in committed:
                self.applied.notify(_id_of(change) for change, _ in each.batch.changes)
                self._measure(each)
            self.metrics.batches.observe(time.perf_counter() - start)
        if not records or time.monotonic() >= self._commit_due:
            self._commit_positions()
        # What is on the lists changes most, and waits a while. Page by page: events go first.
        self._relay.step()
        self._reencode(idle=not records)
        return len(records)

    def _poll(self) -> list[LogRecord]:
        most = self.settings.batch_records * (BEHIND if self._full else 1)
        # The next page does not wait for events.
        records = self._consumer.poll(most, 0.0 if self._relay.is_due else self._patience)
        deadline = time.monotonic() + self.settings.linger_seconds
        while records and len(records) < most and (left := deadline - time.monotonic()) > 0:
            try:
                records += self._consumer.poll(most - len(records), left)
            except (EventLogError, StateError):
                break  # What is polled already must not be lost; the next poll says it again.
        self._full = len(records) >= self.settings.batch_records
        return records

    def _commit_positions(self) -> None:
        if self._uncommitted:
            self._retrying("commit", lambda: self._consumer.commit(self._uncommitted))
            self._uncommitted = {}
        self._commit_due = time.monotonic() + COMMIT_SECONDS

    def _fold(self, batch: Batch) -> Committed | None:
        """Fold the batch into its partition's state; return None where that has moved on."""
        partition, sources = batch.partition, batch.sources(batch.positions)
        # 3. Load and fold.
        before = self._retrying(
            "load", lambda: self._state.load(partition, batch.user_ids, batch.item_ids)
        )
        stored = batch.sources(before.positions)
        first = batch.sources(batch.first)
        # A batch from before its position was polled before the partition went and came back.
        if any(
            at < stored.get(source, 0) or stored.get(source) != self._positions.get(source)
            for source, at in first.items()
        ):
            self._give_way(batch, stored)
            return None
        with self.metrics.stage("fold"):
            folded = process(batch.changes, before, self._max_history, self._keep_marks)
        # A second read: which items go together with those of the batch, the histories say.
        learned = self._retrying("learn", lambda: self._learner.learn(partition, folded))
        updates = Updates.together([folded.updates, learned])
        # 4. Commit.
        try:
            stamp = self._retrying(
                "state",
                lambda: self._state.commit(partition, before.version, updates, batch.positions),
            )
        except StateConflict:
            again = self._retrying("load", lambda: self._state.load(partition, (), ()))
            self._give_way(batch, batch.sources(again.positions))
            return None
        self._positions |= sources
        self._relay.add([partition], len(additive_keys(updates)))
        return Committed(batch, folded, whole_values(updates, stamp))

    def _give_way(self, batch: Batch, stored: Mapping[TopicPartition, int]) -> None:
        """Forget the batch, and continue where another worker has left the partition."""
        for source in batch.sources(batch.positions):
            if source not in stored and source in self._positions:
                raise _lost(source, self._positions[source])
        self._logger.warning("partition_taken_over", partition=batch.partition)
        self.metrics.retries.labels("state").inc()
        self._positions |= stored
        self._consumer.seek({**batch.sources(batch.first), **stored})

    def _reencode(self, *, idle: bool) -> None:
        """Re-encode a page of users when nothing else is to be done, or nothing was for long."""
        short, long = REENCODING_SECONDS
        if not idle and time.monotonic() - self._reencoded_at < long:
            return
        self._patience = short if self._reencoder.step() else IDLE_SECONDS
        self._reencoded_at = time.monotonic()

    def _measure(self, committed: Committed) -> None:
        batch, folded = committed.batch, committed.folded
        results = self.metrics.records.labels
        results(EVENTS, "applied").inc(len(folded.acts))
        results(EVENTS, "repeated").inc(folded.repeated)
        results(EVENTS, "erased").inc(folded.erased)
        others = len(batch.changes) - len(folded.acts) - folded.repeated - folded.erased
        results("items and users", "applied").inc(others)
        results(EVENTS, "dead").inc(len(batch.dead))
        for topic, offset in batch.positions.items():
            self.metrics.position.labels(GROUP, topic, batch.partition).set(offset)


def _lost(source: TopicPartition, position: int) -> StateLost:
    return StateLost(
        f"the state has no position of partition {source.partition} of `{source.topic}`, which "
        f"was committed at {position}: it was emptied. `riverrun rebuild` makes it again from "
        "the archive."
    )


def _id_of(change: Change) -> RecordId:
    if isinstance(change, Event):
        return EVENTS, change.event_id
    if isinstance(change, Item | ItemRemoved):
        return ITEMS, change.item_id
    return USERS, change.user_id
