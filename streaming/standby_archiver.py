"""One archiver at a time: the others stand by until the one that archives is gone."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from feature_repo.event_log import EventLogError
from feature_repo.exclusive_lock import LockHeldError, exclusive, is_held
from serving.background import BackgroundThread
from streaming.archiver import Archiver
from streaming.retrying import Retrying

LOOK_SECONDS = 0.2
STOP_SECONDS = 30.0
_FILE = "lock"


class StandbyArchiver(BackgroundThread):
    """Begins to archive once no other process archives into `folder`.

    Two archivers at once would lose nothing, but one of them could write the older state of an
    item last. The lock is the file `folder/lock`; the system lets go of it when its process
    ends, however it ends.

    make: makes the archiver. retrying: repeats that while archive or log cannot be read, and takes
    the lock again where its file cannot be opened, as on a full disk.
    """

    def __init__(self, folder: Path, make: Callable[[], Archiver], retrying: Retrying) -> None:
        super().__init__("archiver", STOP_SECONDS)
        # One event for both: a pause before a retry must end when the thread is stopped.
        self._stop = retrying.stop
        self._retrying = retrying
        self._file = folder / _FILE
        self._make = make
        self._archiver: Archiver | None = None
        self._failure: BaseException | None = None

    @property
    def failure(self) -> BaseException | None:
        """What ended the archiving, or None."""
        return self._failure

    @property
    def archives(self) -> bool:
        """Whether this is the one that archives."""
        return self._archiver is not None and self._failure is None

    def _run(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                if self._waited_for(held):
                    self._archive()
        except Exception as error:  # noqa: BLE001 — said by `failure`, as the archiver's own is
            self._failure = error

    def _waited_for(self, held: ExitStack) -> bool:
        """Return True once `held` holds the lock, False when told to stop before."""
        while not self._stop.is_set():
            try:
                self._retrying(
                    "archive", lambda: held.enter_context(exclusive(self._file)), (OSError,)
                )
            except LockHeldError:
                self._stop.wait(LOOK_SECONDS)
            else:
                return True
        return False

    def _archive(self) -> None:
        archiver = self._retrying("archive", self._make, (EventLogError, OSError))
        archiver.start()
        self._archiver = archiver
        # One that failed makes way for the next.
        while archiver.failure is None and not self._stop.is_set():
            self._stop.wait(LOOK_SECONDS)
        archiver.stop()
        self._failure = archiver.failure


def is_archived(folder: Path) -> bool:
    """Return whether a process that follows the log archives into `folder`."""
    return is_held(folder / _FILE)
