"""Records that could not be used, kept with the reason, and replayed once it is mended.

A dead letter is keyed by topic, partition and offset of its record. A record that is read twice
because of a crash therefore makes two letters of one key, which count as one.
"""

import base64
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel, Field
from pydantic_core import from_json

from feature_repo.event_log import (
    DEAD_LETTERS,
    EVENTS,
    USERS,
    EventLog,
    LogConsumer,
    LogRecord,
    Message,
    TopicPartition,
)
from feature_repo.schema import SCHEMA_VERSION
from streaming.decode import MODELS
from streaming.later_records import ItemsOf, LaterRecords

REPLAY_GROUP = "dead-letter-replay"
_BATCH = 500
_KEPT_CHARACTERS = 1_000
"""How much is kept of the reason, and how long a kept key is, in a letter without its value."""


ErasuresOf = Callable[[Collection[str]], Mapping[str, int]]
"""Gives, by user id, the moment of the last erasure of those users that were erased."""
Foreign = Callable[[str], object]
"""Called with the reason, for each record of the topic that is no dead letter."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The original record and why it was refused.

    is_whole: whether the record is as it was. One that is too large for a letter has lost its
    value, and cannot be put back.
    """

    record: LogRecord
    reason: str
    is_whole: bool = True

    @property
    def user_ids(self) -> frozenset[str]:
        """The users of the record: its key, and its value's `user_id` where that can be read."""
        if self.record.source.topic not in (EVENTS, USERS):
            return frozenset()
        named: list[Any] = [self.record.key]
        with suppress(ValueError, TypeError, LookupError):
            named.append(from_json(self.record.value or b"")["user_id"])
        # A key that was no text is nobody's id.
        return frozenset(each for each in named if isinstance(each, str) and _is_text(each))

    def precedes(self, erasures: Mapping[str, int]) -> bool:
        """Whether one of its users was erased after the log had taken the record.

        erasures: the moment of each user's last erasure.
        """
        return any(self.record.moment <= erasures.get(each, -1) for each in self.user_ids)


@dataclass(slots=True)
class Replayed:
    """How many letters a replay put back, and how many it left out.

    erased: left out because their users were erased since. forgotten: because it is not known any
    more whether they were. cut: because they have lost their record's value: without one, the
    record would be a tombstone. superseded: because the log has taken a later record of their item
    or user. uncertain: because it is not known any more whether it has.
    """

    put_back: int = 0
    erased: int = 0
    forgotten: int = 0
    cut: int = 0
    superseded: int = 0
    uncertain: int = 0


class DeadLetterRecord(BaseModel):
    """A record that could not be used, and why."""

    reason: str
    topic: str = Field(description="Where the record was, without the topics' prefix.")
    partition: int
    offset: int
    moment: int = Field(
        default=0, description="When it was taken, by the log's clock: a Kafka's is in ms."
    )
    appended_at: int | None = Field(
        default=None, description="The same in milliseconds since 1970; null where it is not known."
    )
    key: str | None
    value: str | None = Field(
        description="In base64; null also where it was too large for a letter.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    is_whole: bool = Field(default=True, description="Whether key and value are all of the record.")


def encode_dead_letter(letter: DeadLetter, max_bytes: int | None = None) -> Message:
    """Return the message, a `DeadLetterRecord`, that `decode_dead_letter` reads back.

    max_bytes: a letter that would be longer keeps the record's place and the reason, not its value.
    """
    (topic, partition), offset, key, value, moment, appended_at = letter.record
    document = {
        "version": SCHEMA_VERSION,
        "reason": letter.reason,
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "moment": moment,
        "appended_at": appended_at,
        "key": key,
        "value": None if value is None else base64.b64encode(value).decode(),
        "is_whole": letter.is_whole,
    }
    # Not orjson: a key that was no UTF-8 holds surrogates, which it refuses.
    encoded = json.dumps(document).encode()
    if max_bytes is not None and len(encoded) > max_bytes:
        kept = key if key is None or len(key) <= _KEPT_CHARACTERS else None
        document |= {"reason": letter.reason[:_KEPT_CHARACTERS], "key": kept, "value": None}
        encoded = json.dumps(document | {"is_whole": False}).encode()
    return Message(f"{topic}/{partition}/{offset}", encoded)


def decode_dead_letter(record: LogRecord) -> DeadLetter:
    """Return the letter in `record`, whose record can be appended again.

    Raises `ValueError` where it holds none.
    """
    try:
        document = json.loads(record.value or b"")
        topic, key, value = document["topic"], document["key"], document["value"]
        if topic not in MODELS:
            raise ValueError(f"`topic` must be one of {', '.join(MODELS)}. Received: {topic!r}.")
        if key is not None:
            str.encode(key, errors="surrogateescape")
        original = LogRecord(
            TopicPartition(topic, int(document["partition"])),
            int(document["offset"]),
            key,
            None if value is None else base64.b64decode(value, validate=True),
            # Letters of before there were moments have none.
            int(document.get("moment", 0)),
            document.get("appended_at"),
        )
        return DeadLetter(original, str(document["reason"]), document.get("is_whole", True))
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        missing = isinstance(error, KeyError)
        raise ValueError(
            f"record {record.source.topic}/{record.source.partition}@{record.offset} "
            f"is no dead letter: {f'{error} is missing' if missing else error}"
        ) from error


def log_foreign(reason: str) -> None:
    """Say in the log that a record was passed over."""
    structlog.get_logger(__name__).warning("no_dead_letter", reason=reason)


def dead_letters(log: EventLog, foreign: Foreign = log_foreign) -> Iterator[DeadLetter]:
    """Yield all dead letters in the log, oldest first, one for each record."""
    ends = log.ends([DEAD_LETTERS])
    consumer = log.consumer(None, [DEAD_LETTERS])
    try:
        for letters, _ in _read(consumer, ends, foreign):
            yield from letters
    finally:
        consumer.close()


def replay(
    log: EventLog,
    erasures_of: ErasuresOf,
    known_from: int,
    foreign: Foreign = log_foreign,
    items_of: ItemsOf = lambda _: (),
) -> Replayed:
    """Append the records of the letters not replayed yet to their topics again; count them.

    An appended record has a new moment. So a letter whose user was erased after the log had taken
    the record is left out: to the workers, that user would have come back. A letter that is not
    whole is left out too.

    So is a letter of an item or a user of which the log has taken a later record, refused or not:
    the older one would take its place. Where the log does not hold any more what came after the
    letter's record, a user's letter is left out, and an item's where `items_of` gives the item.

    A record that is still refused becomes a new dead letter. That one is for the next replay: a
    quick worker could otherwise keep this one going for ever. A crash repeats some records, which
    is harmless: an event counts once by its id.

    known_from: erasures of earlier moments may be forgotten, so users' letters of earlier moments
    are left out.
    """
    ends = log.ends([DEAD_LETTERS])
    replayed = Replayed()
    with (
        closing(log.consumer(REPLAY_GROUP, [DEAD_LETTERS])) as consumer,
        closing(LaterRecords(log, items_of)) as later,
    ):
        for letters, positions in _read(consumer, ends, foreign):
            erasures = erasures_of({each for letter in letters for each in letter.user_ids})
            later.look_for(letter.record for letter in letters)
            for letter in letters:
                record = letter.record
                if not letter.is_whole:
                    replayed.cut += 1
                elif letter.precedes(erasures):
                    replayed.erased += 1
                elif letter.user_ids and record.moment < known_from:
                    replayed.forgotten += 1
                elif later.have_replaced(record):
                    replayed.superseded += 1
                elif later.may_have_replaced(record):
                    replayed.uncertain += 1
                else:
                    log.append(record.source.topic, [Message(record.key, record.value)])
                    replayed.put_back += 1
            consumer.commit(positions)
    return replayed


def _read(
    consumer: LogConsumer, ends: Mapping[TopicPartition, int], foreign: Foreign
) -> Iterator[tuple[list[DeadLetter], dict[TopicPartition, int]]]:
    """Yield letters before `ends`, one for each record, and the positions after them."""
    seen: set[tuple[TopicPartition, int]] = set()
    while records := consumer.poll(_BATCH, 0.0):
        letters, positions = [], {}
        for record in records:
            if record.offset >= ends.get(record.source, 0):
                continue
            positions[record.source] = record.offset + 1
            try:
                letter = decode_dead_letter(record)
            except ValueError as error:
                foreign(str(error))
                continue
            place = letter.record.source, letter.record.offset
            if place not in seen:
                seen.add(place)
                letters.append(letter)
        yield letters, positions


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
