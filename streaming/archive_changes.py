"""Has what was posted of items and users in the archive before an import adds to it."""

import time
from collections.abc import Iterable, Mapping

from feature_repo.archive import Archive
from feature_repo.event_log import (
    ITEMS,
    USERS,
    EventLogError,
    GroupedLog,
    LogRecord,
    TopicPartition,
)
from feature_repo.shop_file import ShopFileError
from streaming.archiver import GROUP, TOPICS, Archiver
from streaming.imports import read_on
from streaming.metrics import StreamMetrics
from streaming.retrying import Retrying
from streaming.settings import StreamingSettings
from streaming.standby_archiver import StandbyArchiver

CHANGES = (ITEMS, USERS)

_LOOK_SECONDS = 0.2
_ASK_SECONDS = 1.0


class NotArchivedError(Exception):
    """No archiver gets on."""


def archive_changes(
    log: GroupedLog,
    archive: Archive,
    settings: StreamingSettings,
    patience: float = 60.0,
) -> None:
    """Return once what the log has taken of items and users by now is in the archive.

    In the archive the later file counts, so a change that is archived after an import would
    replace it. Where no process archives, this one does so meanwhile.

    patience: how many seconds the archiver may read nothing.
    Raises `NotArchivedError` where it does, `EventLogError` where the log cannot be read, and
    `ShopFileError` where a file of the archive is damaged.
    """
    ends = read_on(log, log.unread(GROUP, CHANGES), _ends)
    if not ends:
        return
    metrics = StreamMetrics()
    archiver = StandbyArchiver(
        archive.root,
        lambda: Archiver(log, archive, settings=settings, metrics=metrics),
        Retrying(settings, metrics),
    )
    archiver.start()
    try:
        _wait(archiver, log, archive, ends, patience)
    finally:
        archiver.stop()


def _ends(records: Iterable[LogRecord]) -> dict[TopicPartition, int]:
    """Return, for each partition, the offset after its last record."""
    return {record.source: record.offset + 1 for record in records}


def _wait(
    archiver: StandbyArchiver,
    log: GroupedLog,
    archive: Archive,
    ends: Mapping[TopicPartition, int],
    patience: float,
) -> None:
    position: dict[TopicPartition, int] = {}
    gone_on = asked = float("-inf")
    while True:
        before, position = position, log.unread(GROUP, TOPICS)
        if all(position[source] >= end for source, end in ends.items()):
            return
        now = time.monotonic()
        if position != before:
            gone_on = now
        if isinstance(archiver.failure, EventLogError | ShopFileError):
            raise archiver.failure
        if archiver.failure is not None or now - gone_on > patience:
            why = archiver.failure or f"the archiver has read nothing for {patience:.0f} s"
            raise NotArchivedError(f"what was posted before cannot be archived: {why}")
        if now - asked > _ASK_SECONDS:
            asked = now
            archive.request_writing()
        time.sleep(_LOOK_SECONDS)
