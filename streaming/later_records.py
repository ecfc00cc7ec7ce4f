"""Which records of items and users are not the last that the log has taken of their keys."""

from collections.abc import Callable, Collection, Container, Iterable

from feature_repo.event_log import ITEMS, USERS, EventLog, LogRecord, TopicPartition
from streaming.decode import is_id

TOPICS = (ITEMS, USERS)
"""The topics of which a key's last record counts, and not all of them."""

ItemsOf = Callable[[Collection[str]], Container[str]]
"""Gives those of these items that the log has ever brought, deleted ones too."""

_BATCH = 1_000


class LaterRecords:
    """Knows the last record of every item and user, as far as the log holds them.

    Retention deletes the oldest records first: while the log holds a record, or an older one of
    its partition, it holds all that came later. For what it does not hold, `items_of` is asked.
    """

    def __init__(self, log: EventLog, items_of: ItemsOf) -> None:
        self._consumer = log.consumer(None, TOPICS)
        self._items_of = items_of
        self._first: dict[TopicPartition, int] = {}
        # By topic and key: partition, offset and moment.
        self._last: dict[tuple[str, str | None], tuple[int, int, int]] = {}
        self._brought: Container[str] = ()

    def look_for(self, records: Iterable[LogRecord]) -> None:
        """Read to the present end of the log, to answer for these records, which it has taken.

        Raises `EventLogError`, and what `items_of` raises.
        """
        asked = [record for record in records if record.source.topic in TOPICS]
        if not asked:
            return
        while held := self._consumer.poll(_BATCH, 0.0):
            for record in held:
                self._first.setdefault(record.source, record.offset)
                self._note(record)
        for record in asked:
            self._note(record)
        gone = {each.key for each in asked if each.source.topic == ITEMS and self._is_gone(each)}
        self._brought = self._items_of({key for key in gone if key is not None and is_id(key)})

    def have_replaced(self, record: LogRecord) -> bool:
        """Return whether a later record of the same key is known."""
        (topic, partition), offset, key, _, moment, _ = record
        at, last, last_moment = self._last.get((topic, key), (partition, offset, moment))
        # A key need not be in the partition that it hashes to.
        return last > offset if at == partition else last_moment > moment

    def may_have_replaced(self, record: LogRecord) -> bool:
        """Return whether there may have been a later record that the log does not hold any more."""
        topic = record.source.topic
        if topic not in TOPICS or not self._is_gone(record):
            return False
        return topic == USERS or record.key in self._brought

    def close(self) -> None:
        """Close the reader of the log."""
        self._consumer.close()

    def _note(self, record: LogRecord) -> None:
        (topic, partition), offset, key, _, moment, _ = record
        if not self.have_replaced(record):
            self._last[topic, key] = partition, offset, moment

    def _is_gone(self, record: LogRecord) -> bool:
        first = self._first.get(record.source)
        return first is None or first > record.offset
