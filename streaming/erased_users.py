"""Who was erased: what the state remembers, and what the log says that no worker has read yet."""

from collections.abc import Collection, Mapping

from feature_repo.event_log import (
    USERS,
    EventLog,
    LogConsumer,
    LogRecord,
    LostPositionError,
    TopicPartition,
)
from streaming.erasures import keep_marks
from streaming.settings import StreamingSettings
from streaming.stream_state import OpenState, StateLost, positions_of

_BATCH = 1_000


class ErasedUsers:
    """Says when users were erased, as of now, whether a worker runs or not.

    now: seconds since 1970. known_from: an erasure of an earlier moment may be forgotten.
    """

    def __init__(
        self, log: EventLog, state: OpenState, settings: StreamingSettings, now: float
    ) -> None:
        # In the embedded log moments are no times, but no mark is ever dropped: this is negative.
        kept_since = int(now * 1_000) - keep_marks(log, settings)
        self.known_from = max(kept_since, 0)
        self._log = log
        self._state = state
        # Read before any mark: an erasure that a worker reads meanwhile is found in the log, in
        # the state, or in both.
        positions, passed = positions_of(state), state.milestones()
        self._is_whole = bool(positions) and not passed.is_half_rebuilt
        self._reached = _of_users(positions)
        self._unread: dict[str, int] = {}
        self._consumer = self._opened()

    def moments(self, user_ids: Collection[str]) -> dict[str, int]:
        """Return the moment of the last erasure of those of these users that were erased.

        Raises `StateLost` where the state cannot tell, `StateError`, and `EventLogError`.
        """
        if not user_ids:
            return {}
        if not self._is_whole:
            raise StateLost(
                "the state is empty or half rebuilt, so nobody knows who was erased: "
                "`riverrun rebuild` makes it again."
            )
        self._read_on()
        erased = {user_id: self._unread[user_id] for user_id in user_ids if user_id in self._unread}
        # In all partitions: a key need not be in the one it hashes to now.
        for partition in self._state.partitions():
            marks = self._state.load(partition, user_ids, ()).erasures
            for user_id, moment in marks.items():
                erased[user_id] = max(moment, erased.get(user_id, -1))
        return erased

    def close(self) -> None:
        """Close the reader of the log."""
        self._consumer.close()

    def _read_on(self) -> None:
        """Read the log's erasures up to its present end."""
        ends = self._log.ends([USERS])
        while any(self._reached.get(source, 0) < end for source, end in ends.items()):
            records = self._poll()
            if not records:
                return
            for record in records:
                self._reached[record.source] = record.offset + 1
                if record.value is None and record.key is not None:
                    known = self._unread.get(record.key, -1)
                    self._unread[record.key] = max(known, record.moment)

    def _poll(self) -> list[LogRecord]:
        """Poll, from where workers are by now if what is before that has left the log meanwhile."""
        while True:
            try:
                return self._consumer.poll(_BATCH, 0.0)
            except LostPositionError:
                before, self._reached = self._reached, _of_users(positions_of(self._state))
                if self._reached == before:
                    raise
                self._consumer.close()
                self._consumer = self._opened()

    def _opened(self) -> LogConsumer:
        return self._log.consumer(None, [USERS], lambda _: self._reached)


def _of_users(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    return {source: at for source, at in positions.items() if source.topic == USERS}
