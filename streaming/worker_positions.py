"""A worker's positions in the log: those of the state, and those to commit to the log."""

import time
from collections.abc import Callable, Mapping

from feature_repo.event_log import TopicPartition
from streaming.batches import Batch
from streaming.stream_state import OpenState, StateLost, positions_of

LOOK_SECONDS = 1.0
COMMIT_SECONDS = 1.0
"""How often positions are committed to the log: only retention and lag depend on it."""


class WorkerPositions:
    """The next offset to read of each partition that was this worker's, where there is one.

    untold: positions to commit to the log: all records before them are pushed.
    clock: seconds, with any start.
    """

    def __init__(self, state: OpenState, clock: Callable[[], float] = time.monotonic) -> None:
        self.untold: dict[TopicPartition, int] = {}
        self._state = state
        self._clock = clock
        self._next: dict[TopicPartition, int] = {}
        self._due = 0.0
        self._look_due = 0.0

    @property
    def known(self) -> dict[TopicPartition, int]:
        """A copy of all of them. Safe to read in any thread."""
        return dict(self._next)

    def assign(self, committed: Mapping[TopicPartition, int | None]) -> dict[TopicPartition, int]:
        """Take newly assigned partitions over, and return the positions to continue at.

        They are the state's, not the group's: state and position must be of one moment.

        committed: the group's offset of each assigned partition. What a group has committed was in
        the state before, whichever worker put it there: raises `StateLost` where the state has no
        position of such a partition.
        """
        stored = positions_of(self._state)
        for source, offset in committed.items():
            before = self._next.get(source, offset)
            # Another worker may have committed a later position since: it must not go back.
            self.untold.pop(source, None)
            if source in stored:
                self._next[source] = stored[source]
            elif before is not None:
                raise _lost(source, before)
        return stored

    def follows(self, batch: Batch, stored: Mapping[TopicPartition, int]) -> bool:
        """Whether the worker is where the state is, and the batch does not begin before that.

        A batch that does was polled before its partition went to another worker and came back.
        """
        return all(
            stored.get(source) == self._next.get(source) and at >= stored.get(source, 0)
            for source, at in batch.sources(batch.first).items()
        )

    def look(self) -> None:
        """Check once a second that the state still has a position. Else raise `StateLost`.

        For a worker that reads no records: it loads no state otherwise.
        """
        source = next(iter(self._next), None)
        if source is None or self._clock() < self._look_due:
            return
        self._look_due = self._clock() + LOOK_SECONDS
        if source.topic not in self._state.load(source.partition, (), ()).positions:
            raise _lost(source, self._next[source])

    def move(self, batch: Batch) -> None:
        """Advance past a batch that is committed to the state."""
        self._next |= batch.sources(batch.positions)

    def move_to(self, stored: Mapping[TopicPartition, int], batch: Batch) -> None:
        """Continue where another worker has left the partition of a batch.

        Raises `StateLost` where the state has none of the positions that it had.
        """
        for source in batch.sources(batch.positions):
            if source not in stored and source in self._next:
                raise _lost(source, self._next[source])
        self._next |= stored

    def may_tell(self, batch: Batch) -> None:
        """Let the positions after a batch be committed to the log: the batch is pushed."""
        self.untold |= batch.sources(batch.positions)

    @property
    def is_due(self) -> bool:
        """Whether the last commit to the log is long enough ago."""
        return self._clock() >= self._due

    def told(self) -> None:
        """Note that `untold` is committed; the next commit is due in `COMMIT_SECONDS`."""
        self.untold = {}
        self._due = self._clock() + COMMIT_SECONDS


def _lost(source: TopicPartition, position: int) -> StateLost:
    return StateLost(
        f"the state has no position of partition {source.partition} of `{source.topic}`, which "
        f"was committed at {position}: it was emptied. `riverrun rebuild` makes it again from "
        "the archive."
    )
