"""TLS and SASL: what a real broker asks for, and what is refused before one is asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from feature_repo.event_log import EVENTS, EventLogError, Message
from streaming import kafka_settings
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_log import KafkaLog
from streaming.kafka_settings import KafkaSettings
from tests.support.command import riverrun
from tests.support.kafka_server import fresh_topics
from tests.support.secure_kafka import PASSWORD, USER, SecureKafkaServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafkaServer]:
    server = SecureKafkaServer(tmp_path_factory.mktemp("secure"))
    server.start()
    yield server
    server.kill()


def secured(server: SecureKafkaServer, mechanism: str, **changed: object) -> dict[str, object]:
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
        "ssl_cafile": server.certificate,
        "timeout_seconds": 2.0,
        **changed,
    }


@pytest.mark.kafka
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_what_is_appended_over_tls_by_a_name_and_a_password_is_read(
    server: SecureKafkaServer, mechanism: str
) -> None:
    log = KafkaLog(
        fresh_topics(server.secure_address, **secured(server, mechanism, timeout_seconds=10.0))
    )
    log.append(EVENTS, [Message("u", b"1")])
    (record,) = log.consumer("worker", [EVENTS]).poll(10, 30.0)
    assert (record.key, record.value) == ("u", b"1")
    log.close()


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sasl_plain_password": "wrong"}, "due to invalid credentials with SASL .* SCRAM-SHA-512"),
        (
            {"sasl_plain_password": "wrong", "sasl_mechanism": "PLAIN"},
            "Authentication failed: Invalid username or password",
        ),
        ({"security_protocol": "SASL_PLAINTEXT"}, "Invalid frame length"),
        ({"security_protocol": "SSL"}, "never"),
    ],
)
def test_whom_the_broker_does_not_know_it_tells_nothing_but_why(
    server: SecureKafkaServer, changed: dict[str, object], reason: str
) -> None:
    """It says so as it hangs up, and what it says then is not always read."""
    settings = KafkaSettings.model_validate(secured(server, "SCRAM-SHA-512", **changed))
    connection = KafkaConnection((server.secure_address,), settings=settings)
    log = KafkaLog(connection)
    why = rf"bootstrap from \[.*\]: .*(?:{reason}|a broker closes the connections .* `sasl_...`)"
    with pytest.raises(EventLogError, match=why):
        log.ends([EVENTS])
    with (
        pytest.raises(EventLogError, match=f"cannot list the topics: .*{why}"),
        connection.admin("cannot list the topics") as admin,
    ):
        admin.list_topics()
    log.close()


@pytest.mark.kafka
def test_a_broker_of_no_known_authority_is_told_nothing(
    server: SecureKafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in secured(server, "SCRAM-SHA-512").items():
        monkeypatch.setenv(f"RIVERRUN_STREAMING__KAFKA__{name.upper()}", str(value))
    monkeypatch.setenv("RIVERRUN_LOG_URL", f"kafka://{server.secure_address}")
    # In processes of their own: kafka-python leaves open the socket of a failed handshake.
    assert riverrun("topics", "list").returncode == 0
    monkeypatch.delenv("RIVERRUN_STREAMING__KAFKA__SSL_CAFILE")
    listed = riverrun("topics", "list")
    assert listed.returncode == 2
    (line,) = [line for line in listed.stderr.splitlines() if line.startswith("riverrun: ")]
    assert "cannot list the topics" in line
    assert "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED]" in line


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"security_protocol": "SASL_SSL"}, r"`sasl_mechanism` must be set where .* SASL_SSL"),
        ({"sasl_mechanism": "PLAIN"}, "`sasl_plain_username` must be set where .* is PLAIN"),
        (
            {"sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "u"},
            "`sasl_plain_password` must be set where .* is SCRAM-SHA-256",
        ),
        ({"sasl_mechanism": "GSSAPI"}, "GSSAPI needs the package riverrun_absent"),
        ({"sasl_mechanism": "AWS_MSK_IAM"}, "AWS_MSK_IAM needs the package riverrun_absent"),
    ],
)
def test_what_a_mechanism_lacks_is_named_before_a_broker_is_asked(
    settings: dict[str, object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = dict.fromkeys(kafka_settings._PACKAGES, "riverrun_absent")
    monkeypatch.setattr(kafka_settings, "_PACKAGES", absent)
    read = KafkaSettings.model_validate({"security_protocol": "SASL_SSL", **settings})
    with pytest.raises(ValueError, match=reason):
        parse_kafka_url("kafka://a:9092", read)


def test_a_token_of_amazon_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_settings, "_PACKAGES", {"AWS_MSK_IAM": "json"})
    settings = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "AWS_MSK_IAM"}
    with pytest.raises(ValueError, match=r"`security_protocol` must be SASL_SSL"):
        parse_kafka_url("kafka://a:9092", KafkaSettings.model_validate(settings))


@pytest.mark.parametrize("kind", [KafkaAdminClient, KafkaConsumer, KafkaProducer])
def test_every_client_knows_every_option(kind: type, tmp_path: Path) -> None:
    values: dict[str, object] = {
        name: "x" for name in KafkaSettings.model_fields if name.startswith(("sasl_", "ssl_"))
    }
    values |= {"sasl_mechanism": "GSSAPI", "ssl_check_hostname": False}
    settings = KafkaSettings.model_validate({"security_protocol": "SASL_SSL", **values})
    options = KafkaConnection(("a:9092",), settings=settings).client_options()
    assert {*values, "security_protocol"} <= {*options} <= {*kind.DEFAULT_CONFIG}
