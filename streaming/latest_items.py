"""The catalogue as of now: the archive, and what the log holds that is not archived yet."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from feature_repo.event_log import ITEMS, GroupedLog, LogRecord
from feature_repo.schema import Item
from streaming.archiver import GROUP
from streaming.decode import DecodeError, Decoder, ItemRemoved
from streaming.imports import read_on
from streaming.settings import StreamingSettings


class ItemArchive(Protocol):
    """What is read of the archive."""

    def items(self) -> Sequence[Item]:
        """Return the newest state of every item that is not deleted, by id."""
        ...


def latest_items(archive: ItemArchive, log: GroupedLog, settings: StreamingSettings) -> list[Item]:
    """Return the newest state of every item that is not deleted, by id.

    Includes all that was appended to `log` before the call, whether an archiver runs or not. What
    the log holds beyond the archive is newer than any import.

    Raises `EventLogError` where the log cannot be read.
    """
    decoder = Decoder.of(settings)
    # Asked before the archive is read: what is archived meanwhile is read twice, not missed.
    unread = log.unread(GROUP, [ITEMS])
    archived = archive.items()
    changes = read_on(log, unread, lambda records: _changes(decoder, records))
    starts = log.starts([ITEMS])
    if any(starts.get(source, 0) > at for source, at in unread.items()):
        # So it may have as it was read, and is in the archive by now. Anything later was read.
        archived = archive.items()
    items = {item.item_id: item for item in archived}
    for item_id, (record, item) in changes.items():
        if record.offset < starts.get(record.source, 0):
            continue
        if item is None:
            items.pop(item_id, None)
        else:
            items[item_id] = item
    return [items[item_id] for item_id in sorted(items)]


def _changes(
    decoder: Decoder, records: Iterable[LogRecord]
) -> dict[str, tuple[LogRecord, Item | None]]:
    """Return, by id, the last record of each item, and what it says; None where it was deleted."""
    changes: dict[str, tuple[LogRecord, Item | None]] = {}
    for record in records:
        try:
            change = decoder.decode(record)
        except DecodeError:
            continue  # A dead letter of the worker.
        if isinstance(change, Item | ItemRemoved):
            changes[change.item_id] = (record, change if isinstance(change, Item) else None)
    return changes
