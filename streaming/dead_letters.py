"""Records that could not be used, kept with the reason, and put back when it is mended.

A dead letter's key names the place of the original record. A record that is read twice
because of a crash therefore makes two letters with one key, and counts as one.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from feature_repo.event_log import (
    DEAD_LETTERS,
    EventLog,
    LogConsumer,
    LogRecord,
    Message,
    TopicPartition,
)

REPLAY_GROUP = "dead-letter-replay"
_BATCH = 500
_KEPT_CHARACTERS = 1_000
"""Of the reason, and of a key, in a letter that has lost its record's value."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The original record and why it was refused.

    is_whole: whether the record is as it was. One that is too large for a letter has lost its
    value, and cannot be put back.
    """

    record: LogRecord
    reason: str
    is_whole: bool = True


def encode_dead_letter(letter: DeadLetter, max_bytes: int | None = None) -> Message:
    """Return the message that `decode_dead_letter` reads back.

    max_bytes: of a value that would be longer, only where its record is and the reason are kept.
    """
    (topic, partition), offset, key, value, moment, appended_at = letter.record
    document = {
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
    """Return the letter in `record`. Raises `ValueError` where it holds none."""
    try:
        document = json.loads(record.value or b"")
        value = document["value"]
        source = TopicPartition(str(document["topic"]), int(document["partition"]))
        original = LogRecord(
            source,
            int(document["offset"]),
            document["key"],
            None if value is None else base64.b64decode(value, validate=True),
            # Letters of before there were moments have none.
            int(document.get("moment", 0)),
            document.get("appended_at"),
        )
        return DeadLetter(original, str(document["reason"]), document.get("is_whole", True))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ValueError(
            f"record {record.source.topic}/{record.source.partition}@{record.offset} "
            f"is no dead letter: {error}"
        ) from error


def dead_letters(log: EventLog) -> Iterator[DeadLetter]:
    """Yield all dead letters in the log, each record's once, oldest first."""
    ends = log.ends([DEAD_LETTERS])
    consumer = log.consumer(None, [DEAD_LETTERS])
    try:
        for letters, _ in _read(consumer, ends):
            yield from letters
    finally:
        consumer.close()


def replay(log: EventLog) -> int:
    """Append the originals of all letters not replayed yet to their topics; return how many.

    What is still refused becomes a new dead letter, for the next replay: a worker that is quick
    would otherwise keep this one going for ever. A crash in between repeats some, which is
    harmless: a record counts once by its id. A letter that is not whole is passed over: without
    its value, a record would be a deletion.
    """
    ends = log.ends([DEAD_LETTERS])
    consumer = log.consumer(REPLAY_GROUP, [DEAD_LETTERS])
    total = 0
    try:
        for letters, positions in _read(consumer, ends):
            whole = [letter for letter in letters if letter.is_whole]
            for letter in whole:
                message = Message(letter.record.key, letter.record.value)
                log.append(letter.record.source.topic, [message])
            consumer.commit(positions)
            total += len(whole)
    finally:
        consumer.close()
    return total


def _read(
    consumer: LogConsumer, ends: Mapping[TopicPartition, int]
) -> Iterator[tuple[list[DeadLetter], dict[TopicPartition, int]]]:
    """Yield the letters before `ends`, each record's once, and the positions behind them."""
    seen: set[str | None] = set()
    while records := consumer.poll(_BATCH, 0.0):
        letters, positions = [], {}
        for record in records:
            if record.offset >= ends.get(record.source, 0):
                continue
            positions[record.source] = record.offset + 1
            if record.key not in seen:
                seen.add(record.key)
                letters.append(decode_dead_letter(record))
        yield letters, positions
