"""A shop on a Kafka and a Redis: a worker and replicas in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import redis

from feature_repo.event_log import EventLogError
from feature_repo.open_online_features import without_password
from riverrun.bench.server import (
    RunningServer,
    free_port,
    own_environment,
    running_server,
    stop_process,
    tail,
)
from riverrun.errors import UserError
from streaming.kafka_connection import KafkaConnection, parse_kafka_url
from streaming.kafka_settings import KafkaSettings
from streaming.kafka_topics import TopicMismatchError, create_topics

READY_SECONDS = 300.0
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


class RunningWorker:
    """A `riverrun stream` process, seen through its metrics."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._process = process
        self._log = log

    @property
    def cpu_seconds(self) -> float:
        """The processor time that the process has taken, all its threads together."""
        # After the command in parentheses, which may hold spaces: state is the third field.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def wait_until_it_answers(self) -> None:
        """Return once metrics are served: the worker has begun."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise UserError(f"the worker stopped:\n{tail(self._log)}")
            try:
                httpx.get(f"{self.url}/metrics", timeout=5).raise_for_status()
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise UserError(
            f"the worker did not begin within {READY_SECONDS:.0f} s:\n{tail(self._log)}"
        )


@contextmanager
def running_worker(shop: KafkaShop) -> Iterator[RunningWorker]:
    """Start `riverrun stream`; stop it in the end."""
    port = free_port()
    log = shop.home / "worker.log"
    command = [sys.executable, "-m", "riverrun", "stream", "--home", str(shop.home)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--metrics-port", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=own_environment(shop.environment),
        )
    try:
        worker = RunningWorker(process, port, log)
        worker.wait_until_it_answers()
        yield worker
    finally:
        stop_process(process)


@contextmanager
def running_replicas(shop: KafkaShop, count: int) -> Iterator[list[RunningServer]]:
    """Start so many `riverrun serve`; stop them in the end."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_server(shop.home, "serve", environment=shop.environment))
            for _ in range(count)
        ]
