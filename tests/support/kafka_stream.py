"""A shop on a Kafka and a Redis, and its workers: processes to be killed by tests."""

import os
import random
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import redis

from feature_repo.archive import Archive
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.event_log import Message
from feature_repo.open_online_features import open_online_features
from streaming.archiver import Archiver
from streaming.kafka_connection import KafkaConnection
from streaming.kafka_log import KafkaLog
from streaming.metrics import StreamMetrics
from streaming.redis_state import RedisState
from streaming.retrying import Retrying
from streaming.settings import FoldInSettings, StreamingSettings
from streaming.standby_archiver import StandbyArchiver
from streaming.stream_state import positions_of
from streaming.worker import TOPICS, Worker
from tests.support import waiting
from tests.support.final_state import final_state
from tests.support.forked_command import riverrun, started
from tests.support.forking import forking
from tests.support.kafka_server import fresh_topics
from tests.support.stream import NOW, SPACE, FakeModel
from tests.support.traffic import Record

SETTINGS = StreamingSettings(
    batch_records=20,
    statistics_seconds=0.05,
    archive_seconds=0.1,
    max_retry_seconds=0.5,
    event_types=("view", "cart", "purchase"),
    co_visitation=CoVisitationSettings(),
    fold_in=FoldInSettings(),
)
SETTLE_SECONDS = 90.0


def work(
    home: Path,
    connection: KafkaConnection,
    redis_url: str,
    settings: StreamingSettings,
    max_history: int,
    pipe: Connection,
    owns: Event,
) -> None:
    """Work until anything comes through the pipe, or the worker fails; say at last why it did.

    owns: is set once partitions are the worker's.
    """
    with (home / "worker.log").open("ab") as output:
        for number in (1, 2):
            os.dup2(output.fileno(), number)
    log = KafkaLog(connection)
    online = open_online_features(redis_url, home / "registry.db")
    archive = Archive(home / "archive")
    with closing(log), closing(online), closing(RedisState(redis_url)) as state:
        worker = Worker(
            log,
            online,
            state,
            FakeModel(space=SPACE),
            settings=settings,
            max_history=max_history,
            clock=lambda: NOW,
        )
        archiver = StandbyArchiver(
            archive.root,
            lambda: Archiver(log, archive, settings=settings),
            Retrying(settings, StreamMetrics()),
        )
        worker.start()
        archiver.start()
        while worker.failure is None and archiver.failure is None and not pipe.poll(0.01):
            if worker.positions:
                owns.set()
        worker.stop()
        archiver.stop()
        failure = worker.failure or archiver.failure
    pipe.send(None if failure is None else f"{type(failure).__name__}: {failure}")


class WorkerProcess:
    """A started worker; its arguments are those of `work`, without the pipe and the event."""

    def __init__(self, *shop: Any) -> None:
        # Forked from a process that has imported all this already: restarts take milliseconds.
        context = forking()
        self._pipe, theirs = context.Pipe()
        self._owns = context.Event()
        arguments = (*shop, theirs, self._owns)
        self._process: BaseProcess = context.Process(target=work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def wait_for_partitions(self) -> None:
        """Return once partitions are its own: a killed one's are not until its session ends."""
        assert self._owns.wait(SETTLE_SECONDS), "the worker is given no partition"

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._process.kill()
        self._process.join(30)
        self._pipe.close()

    def stop(self) -> None:
        """Let it take leave of the group. It must not have failed."""
        self._pipe.send("stop")
        assert self.failure() is None

    def failure(self) -> str | None:
        """Wait until it ends by itself or as it was told to, and return why it failed."""
        assert self._pipe.poll(SETTLE_SECONDS), "the worker neither stops nor fails"
        failure: str | None = self._pipe.recv()
        self._process.join(30)
        self._pipe.close()
        return failure


class KafkaShop:
    """Topics, a database and an archive that outlive the workers on them."""

    def __init__(
        self,
        home: Path,
        kafka_address: str,
        redis_url: str,
        *,
        max_history: int = 12,
        **kafka: object,
    ) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.settings_file = home / "riverrun.toml"
        self.redis_url = redis_url
        self._started: list[WorkerProcess] = []
        self.max_history = max_history
        settings = {"partitions": 2, "session_timeout_seconds": 1.0, "timeout_seconds": 5.0}
        self.connection = fresh_topics(kafka_address, **{**settings, **kafka})
        self.settings = SETTINGS.model_copy(update={"kafka": self.connection.settings})
        self.archive = Archive(home / "archive")
        self.log = KafkaLog(self.connection)
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        # The registry is made once, not by all workers at once.
        open_online_features(redis_url, home / "registry.db").close()
        chosen = self.connection.settings.model_dump(exclude_defaults=True)
        lines = [
            f'home = "{home}"',
            f'log_url = "kafka://{kafka_address}/{self.connection.prefix}"',
            f'online_url = "{redis_url}"',
            f"history_length = {max_history}",
            f"training.history_length = {max_history}",
            f"streaming.co_visitation.neighbours = {SETTINGS.co_visitation.neighbours}",
            f"streaming.fold_in.prior = {SETTINGS.fold_in.prior}",
            "[streaming.kafka]",
            *(f"{name} = {value}" for name, value in chosen.items()),
        ]
        self.settings_file.write_text("\n".join(lines) + "\n")

    def start(self) -> WorkerProcess:
        worker = WorkerProcess(
            self.home, self.connection, self.redis_url, self.settings, self.max_history
        )
        self._started.append(worker)
        return worker

    @contextmanager
    def started(self, *arguments: str) -> Iterator[BaseProcess]:
        """Run `riverrun ARGUMENTS` on this shop, and kill it at last."""
        with started(self._command(*arguments), self.home / "worker.log") as process:
            yield process

    def run(self, *arguments: str) -> str:
        """Run `riverrun ARGUMENTS` on this shop and return what it says."""
        done = riverrun(*self._command(*arguments))
        assert done.returncode == 0, done.stderr
        return done.stderr

    def _command(self, *arguments: str) -> list[str]:
        return [*arguments, "--settings", str(self.settings_file)]

    def send(self, requests: list[list[Record]]) -> None:
        for request in requests:
            for topic, key, value in request:
                self.log.append(topic, [Message(key, value)])

    def reached(self) -> int:
        """Return how many records are in the state."""
        with closing(RedisState(self.redis_url)) as state:
            return sum(positions_of(state).values())

    def settle(self) -> None:
        """Wait until state, online store and archive hold all that was sent."""
        with closing(RedisState(self.redis_url)) as state:
            wait_until(lambda: self._is_settled(state), "the stream does not reach its end")

    def _is_settled(self, state: RedisState) -> bool:
        ends = {source: end for source, end in self.log.ends(TOPICS).items() if end}
        reached = {source: at for source, at in positions_of(state).items() if at}
        return (
            reached == ends
            and state.count_unpushed() == 0
            and self.archive.positions.read() == ends
        )

    def state(self) -> dict[str, Any]:
        online = open_online_features(self.redis_url, self.home / "registry.db")
        with closing(online), closing(RedisState(self.redis_url)) as state:
            return final_state(self.log, online, state, self.archive)

    @contextmanager
    def disconnected(self) -> Iterator[None]:
        """Without connections: kafka-python leaks a socket for every one that is refused."""
        self.log.close()
        yield
        self.log = KafkaLog(self.connection)

    def output(self) -> str:
        """Return what the workers have printed."""
        return (self.home / "worker.log").read_text()

    def close(self) -> None:
        for worker in self._started:
            worker.kill()
        self.log.close()


def undisturbed(shop: KafkaShop, requests: list[list[Record]]) -> dict[str, Any]:
    """Return the state after one worker has read it all in peace."""
    shop.send(requests)
    worker = shop.start()
    shop.settle()
    worker.stop()
    state = shop.state()
    shop.close()
    assert state["histories"]
    assert state["events"]
    assert any(weight for _, _, weight, *_ in state["fold_in"].values())
    return state


wait_until = partial(waiting.wait_until, seconds=SETTLE_SECONDS)


def kill_at_work(shop: KafkaShop, worker: WorkerProcess, draw: random.Random) -> None:
    """Kill the worker some milliseconds after it has committed something."""
    before = shop.reached()
    wait_until(lambda: shop.reached() > before, "the worker commits nothing")
    time.sleep(draw.uniform(0, 0.06))
    worker.kill()


def kill_taking_over(_: KafkaShop, worker: WorkerProcess, draw: random.Random) -> None:
    """Kill the worker before, or while, it carries the first batches of what it took over."""
    worker.wait_for_partitions()
    time.sleep(draw.uniform(0, 0.1))
    worker.kill()


def kill_joining(_: KafkaShop, worker: WorkerProcess, draw: random.Random) -> None:
    """Kill the worker while it starts, or waits for its partitions."""
    time.sleep(draw.uniform(0, 0.5))
    worker.kill()
