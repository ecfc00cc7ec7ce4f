"""Reads a log to a number of records."""

from feature_repo.event_log import (
    LogRecord,
)
from streaming.kafka_consumer import KafkaLogConsumer


def drain(consumer: KafkaLogConsumer, count: int) -> list[LogRecord]:
    records: list[LogRecord] = []
    while len(records) < count and (more := consumer.poll(100, 10.0)):
        records += more
    return records
