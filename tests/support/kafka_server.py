"""A real Kafka for tests: the broker of `RIVERRUN_TEST_KAFKA`, or one started here.

Tests that end brokers start their own all the same.
"""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import ConfigFilterType, ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from streaming.kafka_connection import KafkaConnection
from streaming.kafka_settings import KafkaSettings
from streaming.kafka_topics import count_partitions, create_topics
from tests.support.server_process import STOP_SECONDS, ServerProcess
from tests.support.waiting import wait_until

JARS = Path(__file__).parents[2] / ".tools" / "kafka" / "libs"
START_SECONDS = 60.0
SESSION_MILLISECONDS = 1_000
"""How soon a member of a group that says nothing may pass for dead."""
MESSAGE_BYTES = 16 * 2**20

_SESSION = "group.min.session.timeout.ms"
_MESSAGE = "message.max.bytes"
_CLUSTER_ID = "cml2ZXJydW4tdGVzdHMwMQ"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{address},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms={session}
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=2000
num.network.threads=1
num.io.threads=2
message.max.bytes={message}
replica.fetch.max.bytes={message}
"""


class KafkaServer(ServerProcess):
    """One KRaft broker. Its port and its data outlive `stop` and `kill`, until `start` again."""

    def __init__(self, folder: Path) -> None:
        if not any(JARS.glob("kafka_*.jar")):
            raise RuntimeError(f"the broker's jars must be in {JARS} (make servers).")
        java = shutil.which("java")
        if java is None:
            raise RuntimeError("`java` must be on the PATH (apt-get install default-jre-headless).")
        port, controller_port = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        self._controller = f"127.0.0.1:{controller_port}"
        self._log = folder / "kafka.log"
        self._properties = folder / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(
                address=self.address,
                controller=self._controller,
                data=folder / "data",
                session=SESSION_MILLISECONDS,
                message=MESSAGE_BYTES,
            )
        )
        self._java = [
            java, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{JARS}/*",
        ]  # fmt: skip
        self._run("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c")

    def start(self) -> None:
        """Start the broker and return once it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)], stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _answers(self.address):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"Kafka at {self.address} does not answer:\n{self._log.read_text()}")

    def stop(self) -> None:
        """Shut the broker down in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def _run(self, *arguments: str) -> None:
        command = [*self._java, *arguments, str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


@contextmanager
def kafka_server(folder: Path) -> Iterator[str]:
    """Give the address of a broker, `HOST:PORT`: tests use topics and groups of their own.

    Raises:
        RuntimeError: there is no broker to start, it does not answer, or the one that the
            environment names is not set as tests need it.
    """
    if address := os.environ.get("RIVERRUN_TEST_KAFKA"):
        _check(address)
        yield address
        return
    server = KafkaServer(folder)
    try:
        server.start()
        yield server.address
    finally:
        # Nothing of it is kept, so it need not take leave of anyone.
        server.kill()


def fresh_topics(address: str, **settings: object) -> KafkaConnection:
    """Create empty topics under a prefix of their own, of one partition unless said otherwise."""
    chosen = KafkaSettings.model_validate({"partitions": 1, "replication_factor": 1, **settings})
    connection = KafkaConnection((address,), f"test-{uuid.uuid4().hex[:12]}", chosen)
    create_topics(connection, tombstone_days=1.0)
    return connection


def more_partitions(connection: KafkaConnection, topic: str, count: int) -> None:
    """Raise the number of a topic's partitions, as kafka-topics.sh --alter does."""
    with connection.admin("test") as admin:
        admin.create_partitions({connection.topic(topic): count})
    # A broker may say the old number for a moment longer.
    wait_until(lambda: count_partitions(connection)[topic] == count, seconds=30)


def _check(address: str) -> None:
    with KafkaConnection((address,)).client_for_admin() as admin:
        broker = str(admin.describe_cluster()["brokers"][0]["broker_id"])
        resource = ConfigResource(ConfigResourceType.BROKER, broker)
        answer = admin.describe_configs([resource], config_filter=ConfigFilterType.ALL)
    configs = {name: int(answer["broker"][broker][name]["value"]) for name in (_SESSION, _MESSAGE)}
    if configs[_SESSION] > SESSION_MILLISECONDS or configs[_MESSAGE] < MESSAGE_BYTES:
        raise RuntimeError(
            f"the broker of RIVERRUN_TEST_KAFKA must have {_SESSION} of at most "
            f"{SESSION_MILLISECONDS} and {_MESSAGE} of at least {MESSAGE_BYTES}. "
            f"Received: {configs[_SESSION]} and {configs[_MESSAGE]}."
        )


def _answers(address: str) -> bool:
    host, port = address.split(":")
    try:
        # kafka-python leaks a socket for every connection that is refused.
        socket.create_connection((host, int(port)), timeout=1.0).close()
        settings = KafkaSettings(timeout_seconds=2.0)
        # A client of its own making would go on looking for the broker from a thread of its own.
        KafkaConnection((address,), settings=settings).client(KafkaAdminClient).close()
    except (KafkaError, OSError):
        return False
    return True


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
