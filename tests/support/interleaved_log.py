"""A log without an order among its topics, as a broker is, though in one thread."""

from collections.abc import Iterator, Mapping, Sequence

from feature_repo.event_log import LogRecord, Message, Positions, TopicPartition
from streaming.sqlite_consumer import SqliteConsumer
from streaming.sqlite_log import SqliteLog


class InterleavedLog:
    """Reads the topics of an embedded log in turns that a test chooses.

    The moments of the records still say in which order they were appended.

    turns: which topic each poll reads. Where it has nothing new, the poll reads another.
    """

    topics_share_an_order = False
    is_shared_out = True

    def __init__(self, log: SqliteLog, turns: Iterator[str]) -> None:
        self._log = log
        self._turns = turns

    def append(self, topic: str, messages: Sequence[Message]) -> dict[TopicPartition, int]:
        return self._log.append(topic, messages)

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> "InterleavedConsumer":
        parts = {topic: self._log.consumer(group, [topic], positions) for topic in topics}
        return InterleavedConsumer(parts, self._turns)

    def ends(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        return self._log.ends(topics)

    def unread(self, group: str, topics: Sequence[str]) -> dict[TopicPartition, int]:
        return self._log.unread(group, topics)

    def starts(self, topics: Sequence[str]) -> dict[TopicPartition, int]:
        return self._log.starts(topics)

    def close(self) -> None:
        self._log.close()


class InterleavedConsumer:
    """One consumer of every topic, behind the contract of one for all. It never waits."""

    def __init__(self, parts: Mapping[str, SqliteConsumer], turns: Iterator[str]) -> None:
        self._parts = parts
        self._turns = turns

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        return frozenset[TopicPartition]().union(*(each.assigned for each in self._parts.values()))

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        for topic in (next(self._turns), *self._parts):
            if topic in self._parts and (records := self._parts[topic].poll(max_records, 0.0)):
                return records
        return []

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        return self.poll(max_records, timeout)

    def seek(self, positions: Mapping[TopicPartition, int]) -> None:
        for topic, part in self._parts.items():
            part.seek(_of_topic(topic, positions))

    def commit(self, positions: Mapping[TopicPartition, int]) -> None:
        for topic, part in self._parts.items():
            part.commit(_of_topic(topic, positions))

    def close(self) -> None:
        for part in self._parts.values():
            part.close()


def _of_topic(topic: str, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    return {source: at for source, at in positions.items() if source.topic == topic}
