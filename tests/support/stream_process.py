"""The embedded stream in a process of its own, fed through a pipe, to be killed by tests."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from feature_repo.archive import Archive
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import EVENTS, Message
from feature_repo.open_online_features import open_online_features
from streaming.applied import AppliedNotifier
from streaming.archiver import Archiver
from streaming.retention import housekeep
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.sqlite_log import SqliteLog
from streaming.sqlite_state import SqliteState
from streaming.worker import Worker
from tests.support.forking import forking
from tests.support.stream import NOW, SPACE, FakeModel

SETTINGS = StreamingSettings(
    batch_records=40,
    statistics_seconds=0.05,
    archive_seconds=0.1,
    housekeeping_seconds=0.2,
    co_visitation=CoVisitationSettings(),
    fold_in=FoldInSettings(),
)
MAX_HISTORY = 12
FINISH = "finish"


def log_of(home: Path) -> SqliteLog:
    return SqliteLog(home / "log.sqlite")


def serve(home: Path, pipe: Connection) -> None:
    """Append each list of (topic, key, value) that comes, and acknowledge it with its length."""
    log = log_of(home)
    online = open_online_features(f"sqlite://{home / 'online.sqlite'}", home / "registry.db")
    checkpoint = SqliteState(home / "checkpoint.sqlite")
    applied = AppliedNotifier()
    worker = Worker(
        log,
        online,
        checkpoint,
        FakeModel(space=SPACE),
        settings=SETTINGS,
        max_history=MAX_HISTORY,
        applied=applied,
        clock=lambda: NOW,
    )

    def archiver() -> Archiver:
        return Archiver(
            log,
            Archive(home / "archive"),
            settings=SETTINGS,
            housekeeping=lambda: housekeep(log, SETTINGS, NOW.timestamp(), NOW.timestamp()),
        )

    archiving = archiver()
    worker.start()
    archiving.start()
    pipe.send("ready")
    while (request := pipe.recv()) != FINISH:
        for topic, key, value in request:
            log.append(topic, [Message(key, value)])
        pipe.send(len(request))
    _finish(log, applied, worker, archiving, archiver)
    checkpoint.close()
    online.close()
    log.close()
    pipe.send("finished")


def _finish(
    log: SqliteLog,
    applied: AppliedNotifier,
    worker: Worker,
    archiving: Archiver,
    archiver: Callable[[], Archiver],
) -> None:
    from tests.support.stream import event

    last = event(1_000_000, "last", "i0")
    at = log.append(EVENTS, [Message(last.user_id, last.model_dump_json().encode())])
    with applied.expect(at) as done:
        done.result(60)
    worker.stop()
    archiving.stop()
    rest = archiver()
    while rest.step():
        pass
    rest.flush()
    rest.stop()
    assert worker.failure is None
    assert archiving.failure is None


class StreamProcess:
    """A started child. `kill` ends it as a power switch would, but for the disk's cache."""

    def __init__(self, home: Path) -> None:
        # Forked from a process that has imported all this already: restarts take milliseconds.
        context = forking()
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=serve, args=(home, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: object) -> object:
        """Send and wait for the answer; EOFError or OSError where the process has died."""
        self.pipe.send(request)
        return self.pipe.recv()

    def kill(self) -> None:
        self.process.kill()

    def join(self) -> None:
        self.process.join(30)
        self.pipe.close()
