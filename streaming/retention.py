"""What leaves the embedded log: records that are applied and archived, superseded item changes."""

from feature_repo.event_log import EventLog
from streaming import archiver, worker
from streaming.settings import StreamingSettings
from streaming.sqlite_log import SqliteLog


def housekeep(log: EventLog, settings: StreamingSettings, now: float) -> int:
    """Shorten `log` if it is the embedded one; return the number of records that left it.

    now: seconds since 1970. A broker has retention of its own.
    """
    if not isinstance(log, SqliteLog):
        return 0
    groups = (worker.GROUP, archiver.GROUP)
    trimmed = sum(log.trim(topic, groups) for topic in worker.TOPICS)
    return trimmed + log.compact(now - settings.tombstone_days * 86_400)
