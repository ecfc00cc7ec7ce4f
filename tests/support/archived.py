"""The archive after an archiver has read the log to its end."""

from feature_repo.archive import Archive
from feature_repo.event_log import GroupedLog
from streaming.archiver import Archiver


def archive_log(log: GroupedLog, archive: Archive) -> None:
    """Write to the archive all that the log holds."""
    archiver = Archiver(log, archive)
    while archiver.step():
        pass
    archiver.flush()
    archiver.stop()
