"""Records whose topic leaves their time to the producer, who leaves it out or counts otherwise."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from feature_repo.event_log import EVENTS, USERS, LogRecord
from feature_repo.times import microseconds
from streaming.decode import Decoder
from streaming.kafka_log import KafkaLog
from streaming.kafka_topics import TIMESTAMP_TYPE
from streaming.processor import Appended, process
from streaming.stream_state import Slice
from tests.support.kafka_server import fresh_topics
from tests.support.stream import NOW, event

MILLISECONDS = microseconds(NOW) // 1_000
UNKNOWN = 4_200_000_000_000
"""In milliseconds, of the year 2103: a producer's clock is wrong."""


def log_of_producers(
    kafka_address: str, *sent: tuple[str, bytes | None, int]
) -> Iterator[LogRecord]:
    """Yield records, of topic, value and timestamp, that were sent to topics with such times."""
    topics = fresh_topics(kafka_address)
    config = {TIMESTAMP_TYPE: "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    names = {topic: topics.topic(topic) for topic in (EVENTS, USERS)}
    theirs = [ConfigResource(ConfigResourceType.TOPIC, name, config) for name in names.values()]
    with topics.admin("cannot alter the topics") as admin:
        admin.alter_configs(theirs)
    producer = KafkaProducer(bootstrap_servers=list(topics.servers))
    with closing(KafkaLog(topics)) as log:
        consumer = log.consumer(None, [EVENTS, USERS])
        for topic, value, timestamp in sent:
            producer.send(names[topic], key=b"u", value=value, timestamp_ms=timestamp).get(10)
            yield from consumer.poll(10, 10.0)
    producer.close()


def appended(record: LogRecord) -> Appended:
    change = Decoder((), timedelta(0)).decode(record)
    return Appended(change, record.moment, record.appended_at)


def act(number: int) -> bytes:
    return event(number).model_dump_json().encode()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("timestamp", "moment", "appended_at"),
    [
        (-1, 0, None),
        (MILLISECONDS * 1_000 + 999, MILLISECONDS, MILLISECONDS),
        (MILLISECONDS * 1_000_000, MILLISECONDS, MILLISECONDS),
        (UNKNOWN, UNKNOWN, None),
    ],
    ids=["none", "micros", "nanos", "wrong"],
)
def test_a_record_whose_producer_counts_otherwise_is_read_and_is_no_erased_users(
    kafka_address: str, timestamp: int, moment: int, appended_at: int | None
) -> None:
    (record,) = log_of_producers(kafka_address, (EVENTS, act(1), timestamp))
    # One without a timestamp precedes all others.
    assert (record.moment, record.appended_at) == (moment, appended_at)
    folded = process([appended(record)], Slice(1, {}), 10)
    assert (folded.erased, len(folded.acts)) == (0, 1)


@pytest.mark.kafka
def test_an_erasure_in_microseconds_reaches_what_came_before_it_alone(kafka_address: str) -> None:
    records = log_of_producers(
        kafka_address,
        (EVENTS, act(1), MILLISECONDS),
        (USERS, None, (MILLISECONDS + 1) * 1_000),
        (EVENTS, act(2), MILLISECONDS + 2),
    )
    folded = process([appended(record) for record in records], Slice(1, {}), 10)
    assert [each.event_id for each in folded.updates.histories["u"].events] == ["e2"]
    assert folded.updates.erasures == {"u": MILLISECONDS + 1}
