"""Decodes polled records, and groups them by partition number."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from feature_repo.event_log import LogRecord, TopicPartition
from feature_repo.schema import Event
from streaming.dead_letters import DeadLetter
from streaming.decode import DecodeError, Decoder, UserErased
from streaming.processor import Appended


@dataclass(slots=True)
class Batch:
    """The records of one partition number in a micro-batch, over all topics, decoded.

    first, positions: the offset of each topic's first record, and the next one after its last.
    """

    partition: int
    changes: list[Appended] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    first: dict[str, int] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)

    @property
    def user_ids(self) -> set[str]:
        """The users whose histories the batch needs."""
        changes = (each.change for each in self.changes)
        return {each.user_id for each in changes if isinstance(each, Event | UserErased)}

    @property
    def item_ids(self) -> set[str]:
        """The items whose statistics the batch needs."""
        changes = (each.change for each in self.changes)
        return {each.item_id for each in changes if isinstance(each, Event)}

    def sources(self, positions: dict[str, int]) -> dict[TopicPartition, int]:
        """Return offsets by topic as offsets by topic and partition."""
        return {TopicPartition(topic, self.partition): at for topic, at in positions.items()}


def decode_batches(records: Sequence[LogRecord], decoder: Decoder) -> list[Batch]:
    """Return a batch for every partition number of `records`, each in the order of its records."""
    logger = structlog.get_logger(__name__)
    batches: dict[int, Batch] = {}
    for record in records:
        topic, partition = record.source
        batch = batches.setdefault(partition, Batch(partition))
        batch.first.setdefault(topic, record.offset)
        batch.positions[topic] = record.offset + 1
        try:
            batch.changes.append(
                Appended(decoder.decode(record), record.moment, record.appended_at)
            )
        except DecodeError as error:
            batch.dead.append(DeadLetter(record, str(error)))
            logger.warning(
                "record_refused",
                topic=topic,
                partition=partition,
                offset=record.offset,
                reason=str(error),
            )
    return list(batches.values())
