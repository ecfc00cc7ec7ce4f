"""Decoding, dead letters and the notifier."""

import json
import weakref
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from feature_repo.event_log import DEAD_LETTERS, EVENTS, ITEMS, USERS, LogRecord, Message
from feature_repo.event_log import TopicPartition as Source
from feature_repo.log_records import decode_record, encode_record
from feature_repo.schema import Event, Item
from streaming.applied import AppliedNotifier
from streaming.batches import decode_batches
from streaming.dead_letters import (
    DeadLetter,
    dead_letters,
    decode_dead_letter,
    encode_dead_letter,
    replay,
)
from streaming.decode import DecodeError, Decoder, ItemRemoved, UserErased
from streaming.sqlite_log import SqliteLog
from tests.support.stream import NOW, event

GOOD = event(1).model_dump_json().encode()
TAKEN = int(NOW.timestamp() * 1_000)
FUTURE = event(1, minutes=3 * 24 * 60).model_dump_json().encode()


def record(topic: str, key: str | None, value: bytes | None, offset: int = 1) -> LogRecord:
    return LogRecord(Source(topic, 0), offset, key, value, offset, TAKEN)


def nobody(_: Collection[str]) -> dict[str, int]:
    """Nobody was erased."""
    return {}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(("view", "cart"), timedelta(days=1))


def test_the_log_says_where_a_refused_record_lies(decoder: Decoder) -> None:
    with capture_logs() as logs:
        decode_batches([LogRecord(Source(EVENTS, 3), 17, "u", b"[]")], decoder)
    (line,) = logs
    assert (line["topic"], line["partition"], line["offset"]) == (EVENTS, 3, 17)


def test_what_is_sound_is_read(decoder: Decoder) -> None:
    assert decoder.decode(record(EVENTS, "u", GOOD)) == event(1)
    # As far ahead of when the log took it as may be.
    ahead = event(1, minutes=2 * 24 * 60)
    assert decoder.decode(record(EVENTS, "u", ahead.model_dump_json().encode())) == ahead
    assert decoder.decode(record(ITEMS, "i", None)) == ItemRemoved("i")
    assert decoder.decode(record(USERS, "u", None)) == UserErased("u")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, GOOD, "key is null"),
        ("u", None, "cannot be deleted"),
        ("u", b"\xff\xfe", "Invalid JSON"),
        ("u", b"", "Invalid JSON"),
        ("u", b"[]", "must be a JSON object. Received: list"),
        ("u", b'{"event_id": "e"}', r"^`user_id`: is missing\. And 3 more errors\.$"),
        (
            "u",
            GOOD.replace(b'"event_id":"', b'"event_id":" '),
            r"^`event_id`: must be printable and not padded with spaces\. Received: ' \w+'\.$",
        ),
        ("u", GOOD.replace(b'"view"', b'"Teleport!"'), r"`event_type`.*Received: 'Teleport!'"),
        ("u", GOOD.replace(b'"view"', b'"purchase"'), "must be one of cart, view"),
        ("u", GOOD[:-1] + b', "version": "1"}', "`version` must be a whole number"),
        ("other", GOOD, "`user_id` is 'u' but the key is 'other'"),
        ("u", FUTURE, "must be at most 1 day, 0:00:00 ahead of when the log took the event"),
    ],
)
def test_what_is_not_is_refused_with_the_reason(
    decoder: Decoder, key: str | None, value: bytes | None, reason: str
) -> None:
    with pytest.raises(DecodeError, match=reason):
        decoder.decode(record(EVENTS, key, value))


def test_an_event_of_a_log_that_knows_no_time_is_not_bounded(decoder: Decoder) -> None:
    untimed = record(EVENTS, "u", FUTURE)._replace(appended_at=None)
    assert isinstance(decoder.decode(untimed), Event)


def test_an_item_that_the_api_could_not_name_is_refused_and_can_be_removed(
    decoder: Decoder,
) -> None:
    nameless = record(ITEMS, "a/similar", b'{"item_id": "a/similar"}')
    with pytest.raises(DecodeError, match=r"must not end in '/similar'.*Received: 'a/similar'"):
        decoder.decode(nameless)
    removed = decoder.decode(record(ITEMS, "a/similar", None))
    assert removed == ItemRemoved("a/similar")


@pytest.mark.parametrize("value", [b"\xff\x00", None, b""])
@pytest.mark.parametrize("key", [None, "u"])
def test_letters_round_trip(key: str | None, value: bytes | None) -> None:
    letter = DeadLetter(record(EVENTS, key, value, 7), "why not")
    message = encode_dead_letter(letter)
    assert message.key == "events/0/7"
    stored = record(DEAD_LETTERS, message.key, message.value)
    assert decode_dead_letter(stored) == letter


@pytest.mark.parametrize("value", ["YQ", "!YQ==", "Y\nQ==", 7])
def test_a_letter_whose_value_is_not_what_was_written_is_none(value: str | int) -> None:
    """Put back as far as it can be read, it would be another record."""
    written = encode_dead_letter(DeadLetter(record(EVENTS, "u", b"a"), "why not"))
    assert b'"YQ=="' in (written.value or b"")
    damaged = (written.value or b"").replace(b'"YQ=="', json.dumps(value).encode())
    with pytest.raises(ValueError, match="is no dead letter"):
        decode_dead_letter(record(DEAD_LETTERS, written.key, damaged))


@pytest.mark.parametrize("key", ["u", "k" * 9_000, "\udcff" * 9_000, None])
def test_a_record_too_large_for_a_letter_leaves_its_place_and_the_reason(
    key: str | None, tmp_path: Path
) -> None:
    letter = DeadLetter(record(USERS, key, bytes(9_000), 7), "too large" + "!" * 9_000)
    message = encode_dead_letter(letter, 8_000)
    assert len(message.value or b"") <= 8_000
    read = decode_dead_letter(record(DEAD_LETTERS, message.key, message.value))
    assert (read.record.source, read.record.offset) == (letter.record.source, 7)
    assert read.reason.startswith("too large")
    assert not read.is_whole
    # Put back, it would erase the user.
    log = SqliteLog(tmp_path / "log.sqlite")
    log.append(USERS, [Message("other", None)])
    other = DeadLetter(record(USERS, "other", None), "")
    log.append(DEAD_LETTERS, [message, encode_dead_letter(other)])
    assert replay(log, nobody, 0).put_back == 1
    assert [each.key for each in log.consumer(None, [USERS]).poll(10, 0.0)] == ["other"] * 2
    log.close()


def test_a_value_that_is_too_long_is_refused_and_a_deletion_is_not() -> None:
    decoder = Decoder((), timedelta(days=1), max_bytes=len(GOOD))
    decoder.decode(record(EVENTS, "u", GOOD))
    with pytest.raises(DecodeError, match=rf"at most {len(GOOD)} bytes.*{len(GOOD) + 1} bytes"):
        decoder.decode(record(EVENTS, "u", GOOD + b" "))
    assert decoder.decode(record(ITEMS, "i" * 100, None)) == ItemRemoved("i" * 100)


NUMBERS = st.sampled_from(["1e15", "-1e15", "1E9", "1e-5", "7", "0.5", "1e300"])


@given(numbers=st.lists(NUMBERS, max_size=500), max_bytes=st.integers(384, 4_096))
@example(numbers=["1e15"] * 200, max_bytes=2_000)
@example(numbers=["1e15"] * 66, max_bytes=384)
def test_what_is_read_is_not_too_long_to_be_written_again(
    numbers: list[str], max_bytes: int
) -> None:
    """As the changelog does, which would wait for ever for what no broker takes."""
    value = b'{"item_id":"i","new_field":[%s]}' % ",".join(numbers).encode()
    written = encode_record(decode_record(Item, value))
    decoder, sent = Decoder((), timedelta(days=1), max_bytes), record(ITEMS, "i", value)
    if max(len(value), len(written)) <= max_bytes:
        assert encode_record(decoder.decode(sent)) == written
        return
    with pytest.raises(DecodeError, match=rf"must be at most {max_bytes} bytes"):
        decoder.decode(sent)


def test_letters_are_replayed_once(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.sqlite")
    letter = DeadLetter(record(EVENTS, "u", GOOD, 7), "the clock was wrong")
    log.append(DEAD_LETTERS, [encode_dead_letter(letter)] * 2)  # a crash repeated it
    assert list(dead_letters(log)) == [letter]
    assert replay(log, nobody, 0).put_back == 1
    assert replay(log, nobody, 0).put_back == 0
    (again,) = log.consumer(None, [EVENTS]).poll(10, 0.0)
    assert (again.key, again.value) == ("u", GOOD)
    log.close()


class Refusing(SqliteLog):
    """A log beside a worker that is quick, and still refuses whatever is put back."""

    def append(self, topic: str, messages: Sequence[Message]) -> None:
        super().append(topic, messages)
        if topic == EVENTS:
            at = self.ends([EVENTS])[Source(EVENTS, 0)]
            again = record(EVENTS, messages[0].key, messages[0].value, at)
            self.append(DEAD_LETTERS, [encode_dead_letter(DeadLetter(again, "still wrong"))])


def test_what_is_refused_again_waits_for_the_next_replay(tmp_path: Path) -> None:
    log = Refusing(tmp_path / "log.sqlite")
    letters = [DeadLetter(record(EVENTS, "u", b"{}", offset), "wrong") for offset in (1, 2, 3)]
    log.append(DEAD_LETTERS, [encode_dead_letter(letter) for letter in letters])
    assert replay(log, nobody, 0).put_back == 3
    assert [letter.reason for letter in dead_letters(log)] == ["wrong"] * 3 + ["still wrong"] * 3
    assert replay(log, nobody, 0).put_back == 3
    log.close()


ONE, OTHER = Source(EVENTS, 0), Source(EVENTS, 1)


def test_a_request_is_told_when_all_its_records_are_applied() -> None:
    notifier = AppliedNotifier()
    with notifier.expect({ONE: 7, OTHER: 3}) as both, notifier.expect({ONE: 6}) as other:
        notifier.notify({ONE: 6, Source(ITEMS, 0): 9})
        assert other.done()
        # One more record of this partition, of whatever id, is still to come.
        notifier.notify({OTHER: 4})
        assert not both.done()
        notifier.notify({ONE: 7})
        both.result(0)
    with notifier.expect({ONE: 7}) as passed, notifier.expect({}) as nothing:
        assert passed.done()
        assert nothing.done()


def test_a_partition_that_is_read_again_does_not_go_back() -> None:
    notifier = AppliedNotifier()
    notifier.notify({ONE: 7})
    notifier.notify({ONE: 2})
    with notifier.expect({ONE: 7}) as passed:
        assert passed.done()


def test_nothing_is_remembered_for_those_who_have_gone() -> None:
    notifier = AppliedNotifier()
    with notifier.expect({ONE: 7}) as future:
        future.cancel()
        notifier.notify({ONE: 3})
    kept = weakref.ref(future)
    del future
    assert kept() is None
    notifier.notify({ONE: 7})


@pytest.mark.parametrize("topic", [ITEMS, USERS])
@pytest.mark.parametrize("key", ["\udcff", "", " padded", "x" * 129])
def test_a_tombstone_of_no_id_is_refused(decoder: Decoder, topic: str, key: str) -> None:
    with pytest.raises(DecodeError, match="the key is no id"):
        decoder.decode(LogRecord(Source(topic, 0), 7, key, None))
