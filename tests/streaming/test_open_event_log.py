"""An event log is chosen by the scheme of its URL."""

from pathlib import Path

import pytest

from feature_repo.event_log import EVENTS, Message
from streaming.kafka_connection import parse_kafka_url
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from streaming.open_event_log import open_event_log


def test_a_file_is_opened_by_url(tmp_path: Path) -> None:
    log = open_event_log(f"log://{tmp_path / 'sub' / 'log.sqlite'}")
    log.append(EVENTS, [Message("k", b"1")])
    assert (tmp_path / "sub" / "log.sqlite").is_file()
    log.close()


def test_a_kafka_is_opened_by_url_without_connecting() -> None:
    log = open_event_log("kafka://one.example:9092,two.example:9093/shop")
    assert isinstance(log, KafkaLog)
    log.close()


@pytest.mark.parametrize("url", ["log://host/file", "log:///", "file", "redis://host:6379/0"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be log:///FILE or kafka://"):
        open_event_log(url)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://", "kafka:///events", "kafka://host", "kafka://host:port", "kafka://a:1,,b:2",
        "kafka://user@host:9092", "kafka://host:9092/a/b", "kafka://host:9092/a b",
        "kafka://host:9092?x=1",
    ],
)  # fmt: skip
def test_what_is_no_kafka_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be kafka://HOST:PORT"):
        open_event_log(url)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://shop:geheim@host:9092",
        "kafka://shop:geheim@one:9092,shop:geheim@two:9092/shop",
        "kafka+ssl://shop:geheim@host:9092",
    ],
)
def test_a_password_in_a_url_that_is_refused_is_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"shop:\*\*\*@") as raised:
        open_event_log(url)
    assert "geheim" not in str(raised.value)


def test_servers_prefix_and_security_are_read() -> None:
    settings = KafkaSettings.model_validate(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": "shop",
            "sasl_plain_password": "secret",
            "ssl_cafile": "ca.pem",
        }
    )
    connection = parse_kafka_url("kafka://a:9092,[::1]:9093/shop-1", settings)
    options = connection.client_options()
    assert options["bootstrap_servers"] == ["a:9092", "[::1]:9093"]
    assert options["sasl_plain_password"] == "secret"
    assert options["ssl_cafile"] == "ca.pem"
    assert "ssl_keyfile" not in options
    assert connection.topic(EVENTS) == "shop-1.events"
    assert connection.group("worker") == "shop-1.worker"
    assert "secret" not in repr(connection)
    unprefixed = parse_kafka_url("kafka://a:9092", KafkaSettings())
    assert unprefixed.topic(EVENTS) == "events"
    assert unprefixed.group("worker") == "riverrun.worker"
