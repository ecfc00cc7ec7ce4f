"""What leaves the embedded log: records that are applied and archived, superseded item changes."""

from feature_repo.event_log import EventLog, TrimmableLog
from streaming import archiver, worker
from streaming.settings import StreamingSettings


def housekeep(log: EventLog, settings: StreamingSettings, now: float, oldest_bundle: float) -> int:
    """Trim and compact `log`, unless a broker does; return the number of records that left it.

    now, and when the oldest bundle that may be served was made: seconds since 1970. What was
    deleted since then is in its catalogue: without the tombstone, a server that starts would show
    it again.
    """
    if not isinstance(log, TrimmableLog):
        return 0
    groups = (worker.GROUP, archiver.GROUP)
    trimmed = sum(log.trim(topic, groups) for topic in worker.TOPICS)
    return trimmed + log.compact(min(now - settings.tombstone_days * 86_400, oldest_bundle))
