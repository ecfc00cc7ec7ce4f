"""A shop whose dead letters are put back."""

import itertools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from feature_repo.archive import Archive
from feature_repo.event_log import (
    EVENTS,
    USERS,
    EventLog,
    Message,
)
from streaming.dead_letters import (
    Replayed,
    replay,
)
from streaming.erased_users import ErasedUsers
from streaming.rebuild import rebuild
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.archived import archive_log
from tests.support.interleaved_log import InterleavedLog
from tests.support.read_through import unwaiting
from tests.support.stream import FakeModel, MemoryOnline, event

REFUSING = StreamingSettings(linger_seconds=0, event_types=("view",))


PEOPLE = ("u0", "u1")


Kind = Callable[[SqliteLog], EventLog]


def interleaved(log: SqliteLog) -> EventLog:
    return InterleavedLog(log, itertools.cycle([USERS, EVENTS]))


class Shop:
    """A log that is read as an embedded one, or as a broker's: topic by topic."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.log = SqliteLog(folder / "log.sqlite")
        self.read = kind(self.log)
        self.state = SqliteState(folder / "state.sqlite")
        self.archive = Archive(folder / "archive")
        self.online = MemoryOnline()

    def append(self, topic: str, key: str, value: bytes | None) -> None:
        self.log.append(topic, [Message(key, value)])

    def act(self, number: int, person: str, kind: str) -> None:
        made = event(number, person, kind=kind)
        self.append(EVENTS, person, made.model_dump_json().encode())

    def work(self, settings: StreamingSettings) -> None:
        worker = Worker(
            unwaiting(self.read), self.online, self.state, FakeModel(), settings=settings
        )
        worker.recover()
        while worker.step():
            pass
        worker.stop()

    def archive_all(self) -> None:
        archive_log(self.read, self.archive, REFUSING)

    def rebuild(self) -> None:
        """The state is lost, and comes back from the archive."""
        self.archive_all()
        rebuild(self.archive, self.state, self.online, self.read)  # type: ignore[arg-type]

    def replay(self) -> Replayed:
        with closing(ErasedUsers(self.read, self.state, REFUSING, now=0.0)) as erased:
            return replay(self.read, erased.moments, erased.known_from, items_of=self.state.items)

    def histories(self) -> dict[str, set[str]]:
        histories = {each.user_id: each for some in self.state.all_histories() for each in some}
        return {
            person: {each.event_id for each in histories[person].events}
            if person in histories
            else set()
            for person in PEOPLE
        }

    def close(self) -> None:
        self.log.close()
        self.state.close()
