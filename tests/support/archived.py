"""Archivers that read a log to its end, without waiting for more."""

from feature_repo.archive import Archive
from feature_repo.event_log import GroupedLog
from streaming.archiver import Archiver
from streaming.settings import StreamingSettings
from tests.support.read_through import unwaiting


def archive_log(
    log: GroupedLog, archive: Archive, settings: StreamingSettings | None = None
) -> None:
    """Write to the archive all that the log holds."""
    archiver = Archiver(unwaiting(log), archive, settings=settings)
    while archiver.step():
        pass
    archiver.flush()
    archiver.stop()
