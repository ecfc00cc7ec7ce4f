"""Logs whose consumers do something else than those of the log behind them."""

from collections.abc import Callable, Sequence
from typing import Any

from feature_repo.event_log import GroupedLog, LogConsumer, LogRecord, Positions


class OtherConsumer:
    """Does what the consumer behind it does, but for what a test overrides."""

    def __init__(self, consumer: LogConsumer) -> None:
        self.consumer = consumer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.consumer, name)


class ReadThrough:
    """Does what the log behind it does, but for its consumers, which are read through others."""

    def __init__(self, log: GroupedLog, other: Callable[[LogConsumer], Any]) -> None:
        self._log = log
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def consumer(
        self, group: str | None, topics: Sequence[str], positions: Positions | None = None
    ) -> Any:
        return self._other(self._log.consumer(group, topics, positions))


class Unwaiting(OtherConsumer):
    """Gives what is there: no other thread appends anything.

    most: how many records a poll gives at most, whatever it is asked for.
    """

    def __init__(self, consumer: LogConsumer, most: int | None = None) -> None:
        super().__init__(consumer)
        self._most = most

    def poll(self, max_records: int, timeout: float) -> list[LogRecord]:
        return self.consumer.poll(min(max_records, self._most or max_records), 0.0)

    def more(self, max_records: int, timeout: float) -> list[LogRecord]:
        return self.poll(max_records, timeout)


def unwaiting(log: GroupedLog, most: int | None = None) -> Any:
    """Return the log for a worker or an archiver that reads it to its end, as `Unwaiting` does."""
    return ReadThrough(log, lambda consumer: Unwaiting(consumer, most))
