"""The catalogue as of now: the archive, and what the log holds that is not archived yet."""

from collections.abc import Sequence
from typing import Protocol

from feature_repo.event_log import ITEMS, GroupedLog, LogRecord, LostPositionError
from feature_repo.schema import Item
from streaming.archiver import GROUP
from streaming.decode import DecodeError, Decoder, ItemRemoved
from streaming.imports import records_from
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
    while True:
        # Asked before the archive is read: what is archived meanwhile is read twice, not missed.
        unread = log.unread(GROUP, [ITEMS])
        items = {item.item_id: item for item in archive.items()}
        lost: LostPositionError | None = None
        try:
            for record in records_from(log, unread):
                _take_up(items, decoder, record)
        except LostPositionError as error:
            lost = error
        # What was archived meanwhile may have left the log before it was read here: then anew, from
        # where the log begins by now.
        starts = log.starts([ITEMS])
        if all(starts.get(source, 0) <= at for source, at in unread.items()):
            if lost:
                raise lost
            return [items[item_id] for item_id in sorted(items)]


def _take_up(items: dict[str, Item], decoder: Decoder, record: LogRecord) -> None:
    try:
        change = decoder.decode(record)
    except DecodeError:
        return  # A dead letter of the worker.
    if isinstance(change, Item):
        items[change.item_id] = change
    elif isinstance(change, ItemRemoved):
        items.pop(change.item_id, None)
