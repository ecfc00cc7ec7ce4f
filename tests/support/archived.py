"""Workers and archivers that read a log to its end, without waiting for more."""

from feature_repo.archive import Archive
from feature_repo.event_log import GroupedLog
from streaming.archiver import Archiver
from streaming.worker import Worker


def archive_log(log: GroupedLog, archive: Archive) -> None:
    """Write to the archive all that the log holds."""
    archiver = Archiver(log, archive)
    while archiver.step():
        pass
    archiver.flush()
    archiver.stop()


def do_not_wait(reader: Worker | Archiver) -> None:
    """Let it poll for what is there alone."""
    poll = reader._consumer.poll
    reader._consumer.poll = lambda most, _: poll(most, 0.0)  # type: ignore[method-assign]
