"""A shop on a Kafka and a Redis: a worker and replicas in processes of their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import redis

from feature_repo.event_log import EventLogError
from feature_repo.open_online_features import without_password
from riverrun.bench.server import RunningServer, running_server
from riverrun.errors import UserError
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_settings import KafkaSettings
from streaming.kafka_topics import TopicMismatchError, create_topics

CONNECT_SECONDS = 10.0
TOMBSTONE_DAYS = 1.0


@dataclass(frozen=True, slots=True)
class KafkaShop:
    """A shop's home and URLs. The topics are this run's own, the Redis was empty before it."""

    home: Path
    connection: KafkaConnection
    environment: Mapping[str, str]


@contextmanager
def kafka_shop(
    home: Path, kafka_url: str, redis_url: str, partitions: int, prepare: Callable[[], None]
) -> Iterator[KafkaShop]:
    """Create topics under a prefix of their own; empty the Redis database in the end.

    prepare: makes the shop in `home`, once both servers have answered. Keys that others have
    written to the Redis meanwhile are left there.

    Raises `UserError` where a URL is invalid, a server does not answer, the Redis database is not
    empty, before or after `prepare`, or the brokers refuse the topics.
    """
    shown = without_password(redis_url)
    try:
        parse_kafka_url(kafka_url, KafkaSettings())
        own = f"{kafka_url.rstrip('/')}/bench-{uuid4().hex[:12]}"
        connection = parse_kafka_url(own, KafkaSettings(partitions=partitions))
    except ValueError as error:
        raise UserError(f"--kafka: {error}") from error
    try:
        client = redis.Redis.from_url(redis_url, socket_connect_timeout=CONNECT_SECONDS)
    except ValueError as error:
        raise UserError(f"--redis {shown}: {error}.") from error
    with client as store:
        _require_empty(store, shown)
        try:
            create_topics(connection, TOMBSTONE_DAYS)
        except (EventLogError, TopicMismatchError) as error:
            raise UserError(f"--kafka: {error}") from error
        environment = {
            "RIVERRUN_LOG_URL": own,
            "RIVERRUN_ONLINE_URL": redis_url,
            "RIVERRUN_STREAMING__KAFKA__PARTITIONS": str(partitions),
        }
        prepare()
        _require_empty(store, shown)
        try:
            yield KafkaShop(home, connection, environment)
        finally:
            store.flushdb()


def _require_empty(store: "redis.Redis[bytes]", shown: str) -> None:
    try:
        size = store.dbsize()
    except redis.RedisError as error:
        raise UserError(f"--redis {shown}: {str(error).rstrip('.')}.") from error
    if size:
        raise UserError(f"--redis {shown}: the database must be empty: it is emptied after.")


def running_worker(shop: KafkaShop) -> AbstractContextManager[RunningServer]:
    """Start `riverrun stream`, which is ready once it serves its metrics; stop it in the end."""
    return running_server(
        shop.home,
        "stream",
        name="worker",
        port_option="--metrics-port",
        path="/metrics",
        environment=shop.environment,
    )


@contextmanager
def running_replicas(shop: KafkaShop, count: int) -> Iterator[list[RunningServer]]:
    """Start so many `riverrun serve`; stop them in the end."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_server(shop.home, "serve", environment=shop.environment))
            for _ in range(count)
        ]
