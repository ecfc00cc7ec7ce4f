"""What can be set about Kafka."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from feature_repo.settings_model import SettingsModel

Days = Annotated[float, Field(gt=0)]

# A dead letter holds its record in base64, which takes 4/3 of its size, and some words.
_LETTER_BYTES = 4 / 3
_LETTER_EXTRA_BYTES = 65_536

_MESSAGE_EXTRA_BYTES = 640
"""What a batch of one message takes besides the value: a key of 128 characters, and overhead."""

_PACKAGES = {"GSSAPI": "gssapi", "AWS_MSK_IAM": "botocore"}
"""The package that a mechanism needs; the other mechanisms need a name and a password."""


class KafkaSettings(SettingsModel):
    """How a Kafka is talked to. Servers and topic prefix are in the log's URL.

    security_protocol, sasl_*, ssl_*: passed to kafka-python as they are. Unset files mean the
        system's certificate authorities and no client certificate. What a mechanism needs besides
        is asked for where a Kafka is opened, so that a password need not be in the file.
    partitions: of each topic that `riverrun topics create` makes. Events, items and users need
        equally many; a topic's number cannot be changed later without mixing up its keys.
    replication_factor: of each topic; 0 leaves it to the brokers.
    *_retention_days: how long records stay in a topic. The archive keeps them for ever, so it
        must hold the longest outage of workers and archiver. That of `events` and that of dead
        letters together are how long it is remembered that a user was erased.
    max_message_bytes: the largest message of a topic; 1 MiB is Kafka's own limit.
    max_fetch_bytes: most bytes that one broker sends a consumer at once, and so what a consumer
        holds in memory, unless a single message is larger.
    timeout_seconds: a broker that has not answered for so long is an `EventLogError`.
    session_timeout_seconds: a worker silent for so long loses its partitions to the others.
    max_poll_seconds: and so does one that has not asked for records for so long.
    """

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM"] | None
    ) = None
    sasl_plain_username: str | None = None
    sasl_plain_password: SecretStr | None = None
    sasl_kerberos_service_name: str = "kafka"
    sasl_kerberos_domain_name: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    ssl_password: SecretStr | None = None
    ssl_check_hostname: bool = True
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 12
    replication_factor: Annotated[int, Field(ge=0, le=100)] = 0
    events_retention_days: Days = 7.0
    items_retention_days: Days = 7.0
    users_retention_days: Days = 7.0
    dead_letters_retention_days: Days = 30.0
    max_message_bytes: Annotated[int, Field(ge=1_024, le=64 * 2**20)] = 2**20
    max_fetch_bytes: Annotated[int, Field(ge=1_024, le=2**30)] = 16 * 2**20
    timeout_seconds: Annotated[float, Field(ge=1, le=600)] = 10.0
    session_timeout_seconds: Annotated[float, Field(ge=1, le=1_800)] = 10.0
    max_poll_seconds: Annotated[float, Field(ge=10, le=86_400)] = 300.0

    @field_validator("sasl_mechanism", mode="before")
    @classmethod
    def _is_no_object(cls, mechanism: object) -> object:
        if mechanism == "OAUTHBEARER":
            raise ValueError("its tokens come from an object of Python, which no setting can be")
        return mechanism

    def check_sasl(self) -> None:
        """Raise `ValueError` where a setting or package that SASL needs is missing.

        kafka-python itself would only report that it found no broker.
        """
        if not self.security_protocol.startswith("SASL_"):
            return
        mechanism = self.sasl_mechanism
        if mechanism is None:
            raise ValueError(
                f"`sasl_mechanism` must be set where `security_protocol` is "
                f"{self.security_protocol}. Received: None."
            )
        needed = _PACKAGES.get(mechanism)
        if needed is None:
            for name in ("sasl_plain_username", "sasl_plain_password"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"`{name}` must be set where `sasl_mechanism` is {mechanism}. "
                        "Received: None."
                    )
        elif find_spec(needed) is None:
            raise ValueError(
                f"`sasl_mechanism` {mechanism} needs the package {needed}, which is not installed."
            )
        if mechanism == "AWS_MSK_IAM" and self.security_protocol != "SASL_SSL":
            raise ValueError(
                "`security_protocol` must be SASL_SSL where `sasl_mechanism` is AWS_MSK_IAM. "
                f"Received: {self.security_protocol!r}."
            )

    @property
    def max_record_bytes(self) -> int:
        """The longest value that fits a message with every key."""
        return self.max_message_bytes - _MESSAGE_EXTRA_BYTES

    @property
    def largest_request(self) -> int:
        """The bytes of the largest message that is ever appended: a dead letter."""
        return int(self.max_message_bytes * _LETTER_BYTES) + _LETTER_EXTRA_BYTES

    @property
    def max_letter_bytes(self) -> int:
        """The longest value of a dead letter."""
        return self.largest_request - _MESSAGE_EXTRA_BYTES
