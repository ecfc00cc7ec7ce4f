"""One archiver at a time: the others stand by until the one that archives is gone."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from serving.background import BackgroundThread
from streaming.archiver import Archiver

LOOK_SECONDS = 0.2
STOP_SECONDS = 30.0


class StandbyArchiver(BackgroundThread):
    """Begins to archive once no other process archives into `folder`.

    Two archivers at once would lose nothing, but one of them could write the older state of an
    item last. The lock is the file `folder/lock`; the system lets go of it when its process
    ends, however it ends.
    """

    def __init__(self, folder: Path, make: Callable[[], Archiver]) -> None:
        super().__init__("archiver", STOP_SECONDS)
        self._file = folder / "lock"
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
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if self._wait_for_turn(descriptor):
                    self._archive()
            finally:
                os.close(descriptor)
        except Exception as error:  # noqa: BLE001 — said by `failure`, as the archiver's own is
            self._failure = error

    def _wait_for_turn(self, descriptor: int) -> bool:
        while not self._stop.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stop.wait(LOOK_SECONDS)
            else:
                return True
        return False

    def _archive(self) -> None:
        archiver = self._make()
        archiver.start()
        self._archiver = archiver
        # One that failed makes way for the next.
        while archiver.failure is None and not self._stop.is_set():
            self._stop.wait(LOOK_SECONDS)
        archiver.stop()
        self._failure = archiver.failure
