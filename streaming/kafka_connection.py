"""The address of a Kafka, its names of topics and groups, and the clients that connect to it."""

import re
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kafka import KafkaAdminClient
from kafka import TopicPartition as Place
from kafka.admin import OffsetSpec
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    KafkaTimeoutError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
)
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from pydantic import SecretStr

from feature_repo.event_log import EventLogError, LostPositionError
from feature_repo.open_online_features import without_password
from streaming.kafka_settings import KafkaSettings

COMMITTED = "read_committed"
"""The isolation level of whoever reads: what a transaction wrote counts once it is committed."""

# Long enough to be no load, short enough that a broker which is back is found at once.
RECONNECT_MILLISECONDS = 1_000

_SERVER = re.compile(r"[^\s:,/@]+:\d{1,5}|\[[0-9a-fA-F:.]+\]:\d{1,5}")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Bootstrap servers, and the prefix that keeps two shops on one Kafka apart."""

    servers: tuple[str, ...]
    prefix: str = ""
    settings: KafkaSettings = field(default_factory=KafkaSettings)

    def __str__(self) -> str:
        return f"kafka {','.join(self.servers)}"

    def topic(self, name: str) -> str:
        """Return what the topic is called at the broker."""
        return f"{self.prefix}.{name}" if self.prefix else name

    def group(self, name: str) -> str:
        """Return what the consumer group is called at the broker."""
        return f"{self.prefix or 'riverrun'}.{name}"

    def client_options(self) -> dict[str, Any]:
        """Return the options that every client of kafka-python takes."""
        settings = self.settings
        names = [name for name in type(settings).model_fields if name.startswith(("sasl_", "ssl_"))]
        options = {name: _plain(getattr(settings, name)) for name in names}
        return {
            "bootstrap_servers": list(self.servers),
            "client_id": "riverrun",
            "security_protocol": settings.security_protocol,
            "bootstrap_timeout_ms": int(settings.timeout_seconds * 1_000),
            "reconnect_backoff_max_ms": RECONNECT_MILLISECONDS,
            **{name: value for name, value in options.items() if value is not None},
        }

    def client(self, kind: Callable[..., Any], **options: Any) -> Any:
        """Make a client of kafka-python, of the class `kind`.

        A client that finds no broker raises in its constructor. Nobody else can close it then, and
        its thread would look for brokers for ever, so it is ended here. The error says why no
        broker took the connection.
        """
        networks: list[Any] = []

        def network(**config: Any) -> Any:
            selector = NetworkSelector(**config)
            manager = _Connections(selector, **config)
            networks.append(KafkaNetClient(selector, manager, **config))
            return networks[-1]

        try:
            return kind(**self.client_options(), kafka_client=network, **options)
        except BaseException as error:
            for each in networks:
                each.close()
                each._net.stop()
            reasons = [each._manager.lost_by for each in networks if each._manager.lost_by]
            if reasons and isinstance(error, KafkaTimeoutError):
                cause = reasons[0] if _has_hung_up(reasons[0]) else error
                raise KafkaTimeoutError(f"{_said(error)}: {_why(reasons[0])}") from cause
            raise

    @contextmanager
    def reporting(self, what: str) -> Iterator[None]:
        """Turn what kafka-python raises into an `EventLogError` that says `what` failed."""
        try:
            yield
        except OffsetOutOfRangeError as error:
            raise LostPositionError(f"{self}: {what}: {error}.") from error
        except (KafkaError, OSError) as error:
            raise EventLogError(f"{self}: {what}: {error}.") from error

    def reach(self) -> None:
        """Raise the `OSError` of the last server if none takes a connection.

        The servers share the time that they have. A client of kafka-python that finds no server
        leaves a thread and sockets behind.
        """
        error: OSError | None = None
        seconds = self.settings.timeout_seconds / len(self.servers)
        for server in self.servers:
            host, _, port = server.rpartition(":")
            try:
                address = (host.strip("[]"), int(port))
                socket.create_connection(address, seconds).close()
            except OSError as refused:
                error = refused
            else:
                return
        if error is not None:
            raise error

    @contextmanager
    def admin(self, what: str) -> Iterator[Any]:
        """Give a `KafkaAdminClient` for `what`. Raises `EventLogError`."""
        with self.reporting(what), self.client_for_admin() as client:
            yield client

    @contextmanager
    def client_for_admin(self) -> Iterator[Any]:
        """Give a `KafkaAdminClient`. Raises what kafka-python raises."""
        self.reach()
        milliseconds = int(self.settings.timeout_seconds * 1_000)
        client = self.client(KafkaAdminClient, request_timeout_ms=milliseconds)
        try:
            yield client
        finally:
            client.close()

    def high_watermarks(self, places: Collection[Place]) -> dict[Place, int]:
        """Return where partitions end, open transactions included. Raises as kafka-python does."""
        if not places:
            return {}
        with self.client_for_admin() as client:
            found = client.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        return {place: each.offset for place, each in found.items()}


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Remembers why a connection was lost, which kafka-python only logs before it tries again.

    lost_by: the first error of authentication, authorisation or TLS, or else the first of all.
    """

    def __init__(self, network: NetworkSelector, **config: Any) -> None:
        self.lost_by: Exception | None = None
        super().__init__(network, **config)

    def get_connection(self, node_id: Any, *arguments: Any, **options: Any) -> Any:
        """Return the connection to a broker, made now or before."""
        known = self._conns.get(node_id)
        connection = super().get_connection(node_id, *arguments, **options)
        if connection is not known:
            connection.close_future.add_errback(self._lost)
        return connection

    def _lost(self, error: Exception) -> None:
        # What a broker sends before it closes a connection is not always read.
        if self.lost_by is None or (_is_refusal(error) and not _is_refusal(self.lost_by)):
            self.lost_by = error


_REFUSALS = (AuthorizationError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
_HUNG_UP = "socket disconnected"


def _is_refusal(error: Exception) -> bool:
    # What TLS says is one of many failures to connect.
    return isinstance(error, _REFUSALS) or "Handshake failed" in str(error)


def _has_hung_up(lost_by: Exception) -> bool:
    """Whether a broker was there, and would have nothing to do with this client."""
    return _is_refusal(lost_by) or _said(lost_by) == _HUNG_UP


def _why(lost_by: Exception) -> str:
    if _said(lost_by) != _HUNG_UP:
        return _said(lost_by)
    return (
        "a broker closes the connections that it takes: are `security_protocol` and `sasl_...` of "
        "[streaming.kafka] what it asks for"
    )


def _said(error: Exception) -> str:
    """Return the message without the name of its type before it."""
    return str(error.args[0]) if error.args else str(error)


def parse_kafka_url(url: str, settings: KafkaSettings) -> KafkaConnection:
    """Read `kafka://HOST:PORT[,HOST:PORT...][/PREFIX]`.

    Raises `ValueError`, also where `settings` do not say what their SASL mechanism needs.
    """
    parts = urlsplit(url)
    servers = tuple(parts.netloc.split(","))
    prefix = parts.path.removeprefix("/")
    well_formed = (
        parts.scheme == "kafka"
        and all(_SERVER.fullmatch(server) for server in servers)
        and (not prefix or _PREFIX.fullmatch(prefix))
        and not (parts.query or parts.fragment)
    )
    if not well_formed:
        raise ValueError(
            "`log_url` must be kafka://HOST:PORT[,HOST:PORT...][/PREFIX]. "
            f"Received: {without_password(url)!r}."
        )
    settings.check_sasl()
    return KafkaConnection(servers, prefix, settings)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
