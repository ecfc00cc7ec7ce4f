"""Records whose topic leaves their time to the producer, who leaves it out or counts otherwise."""

from contextlib import closing
from datetime import timedelta

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from feature_repo.event_log import EVENTS
from feature_repo.times import microseconds
from streaming.decode import Decoder
from streaming.kafka_log import KafkaLog
from streaming.kafka_topics import TIMESTAMP_TYPE
from streaming.processor import Appended, process
from streaming.stream_state import Slice
from tests.support.kafka_server import fresh_topics
from tests.support.stream import NOW, event

IN_MICROSECONDS = microseconds(NOW)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("timestamp", "moment"), [(-1, 0), (IN_MICROSECONDS, IN_MICROSECONDS)], ids=["none", "micros"]
)
def test_a_record_without_a_time_is_read_and_is_no_erased_users(
    kafka_address: str, timestamp: int, moment: int
) -> None:
    topics = fresh_topics(kafka_address)
    name = topics.topic(EVENTS)
    config = {TIMESTAMP_TYPE: "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    theirs = ConfigResource(ConfigResourceType.TOPIC, name, config)
    with topics.admin("cannot alter the topic") as admin:
        admin.alter_configs([theirs])
    producer = KafkaProducer(bootstrap_servers=list(topics.servers))
    value = event(1).model_dump_json().encode()
    producer.send(name, key=b"u", value=value, timestamp_ms=timestamp).get(10)
    producer.close()
    with closing(KafkaLog(topics)) as log:
        (record,) = log.consumer(None, [EVENTS]).poll(10, 10.0)
    # One without a timestamp precedes all others.
    assert (record.moment, record.appended_at) == (moment, None)
    change = Decoder((), timedelta(0)).decode(record)
    appended = Appended(change, record.moment, record.appended_at)
    folded = process([appended], Slice(1, {}), 10)
    assert (folded.erased, len(folded.acts)) == (0, 1)
