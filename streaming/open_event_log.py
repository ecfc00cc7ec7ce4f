"""Opens an event log by the scheme of its URL."""

from urllib.parse import urlsplit

from feature_repo.event_log import GroupedLog
from feature_repo.file_urls import file_of
from feature_repo.open_online_features import without_password
from streaming.kafka_connection import parse_kafka_url
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from streaming.sqlite_log import SqliteLog


def open_event_log(url: str, kafka: KafkaSettings | None = None) -> GroupedLog:
    """Open the log at `url`.

    `log:///FILE` is the embedded log; `kafka://HOST:PORT[,HOST:PORT...][/PREFIX]` is a Kafka,
    which is connected to when it is first used. Raises `ValueError` for any other URL, and
    `EventLogError` where the file cannot be opened.
    """
    parts = urlsplit(url)
    if parts.scheme == "kafka":
        return KafkaLog(parse_kafka_url(url, kafka or KafkaSettings()))
    if parts.scheme == "log" and not parts.netloc and parts.path.strip("/"):
        return SqliteLog(file_of(url))
    raise ValueError(
        "`log_url` must be log:///FILE or kafka://HOST:PORT[,HOST:PORT...][/PREFIX]. "
        f"Received: {without_password(url)!r}."
    )
