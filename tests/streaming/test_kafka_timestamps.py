"""Records whose topic leaves their time to the producer, who leaves it out."""

from contextlib import closing
from datetime import timedelta

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from feature_repo.event_log import EVENTS
from streaming.decode import Decoder
from streaming.kafka_log import KafkaLog
from streaming.kafka_topics import TIMESTAMP_TYPE
from streaming.processor import Appended, process
from streaming.stream_state import Slice
from tests.support.kafka_server import fresh_topics
from tests.support.stream import event


@pytest.mark.kafka
def test_a_record_without_a_time_precedes_all_others_and_is_no_erased_users(
    kafka_address: str,
) -> None:
    topics = fresh_topics(kafka_address)
    name = topics.topic(EVENTS)
    theirs = ConfigResource(ConfigResourceType.TOPIC, name, {TIMESTAMP_TYPE: "CreateTime"})
    with topics.admin("cannot alter the topic") as admin:
        admin.alter_configs([theirs])
    producer = KafkaProducer(bootstrap_servers=list(topics.servers))
    value = event(1).model_dump_json().encode()
    producer.send(name, key=b"u", value=value, timestamp_ms=-1).get(10)
    producer.close()
    with closing(KafkaLog(topics)) as log:
        (record,) = log.consumer(None, [EVENTS]).poll(10, 10.0)
    assert (record.moment, record.appended_at) == (0, None)
    change = Decoder((), timedelta(0)).decode(record)
    folded = process([Appended(change, record.moment)], Slice(1, {}), 10)
    assert (folded.erased, len(folded.acts)) == (0, 1)
