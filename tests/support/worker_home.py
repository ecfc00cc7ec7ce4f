"""A log and a state on disk, and workers over them."""

from pathlib import Path
from typing import Any

from feature_repo.event_log import (
    EVENTS,
    ITEMS,
    Message,
    TopicPartition,
)
from feature_repo.schema import Item
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.stream import NOW, FakeModel


class Home:
    """The log and the state that workers find in a folder."""

    def __init__(self, folder: Path) -> None:
        self.log: Any = SqliteLog(folder / "log.sqlite")
        self.state: Any = SqliteState(folder / "checkpoint.sqlite")

    def worker(
        self,
        online: Any,
        model: FakeModel | None = None,
        statistics_seconds: float = 0,
        **options: Any,
    ) -> Worker:
        return Worker(
            self.log,
            online,
            self.state,
            model or FakeModel(),
            settings=StreamingSettings(retry_seconds=0.001, statistics_seconds=statistics_seconds),
            clock=lambda: NOW,
            **options,
        )

    def send(self, *changes: Any) -> dict[TopicPartition, int]:
        at: dict[TopicPartition, int] = {}
        for change in changes:
            topic, key = (ITEMS, change.item_id) if isinstance(change, Item) else (EVENTS, "u")
            at |= self.log.append(topic, [Message(key, change.model_dump_json().encode())])
        return at
