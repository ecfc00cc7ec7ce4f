"""A real Redis server for tests: the one of `RIVERRUN_TEST_REDIS_URL`, or one started here.

Each process that runs tests has `DATABASES` of its own, from the one that the URL names on. Only
the first must find them on that server: where there are no more, each of the others starts its own.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from feature_repo.open_online_features import without_password
from tests.support.server_process import ServerProcess

START_SECONDS = 20.0
DATABASES = 16
"""What a server has unless it is told otherwise."""


class RedisServer(ServerProcess):
    """One server. Its port outlives `kill`, and its data only with `options` that keep them."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("`redis-server` must be on the PATH (apt-get install redis-server).")
        self._port = free_port()
        self._log = folder / "redis.log"
        self._command = [
            program, "--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(folder),
            "--save", "", *options,
        ]  # fmt: skip
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start the server and return once it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis(port=self._port) as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.ConnectionError:
                    time.sleep(0.02)
                else:
                    return
        self.kill()
        raise RuntimeError(f"Redis at {self.url} does not answer:\n{self._log.read_text()}")


def database(redis_url: str, number: int) -> str:
    """Return the URL of the database that comes `number` after the one of `redis_url`."""
    server, _, first = redis_url.rpartition("/")
    return f"{server}/{int(first) + number}"


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Give the URL of the first of `DATABASES` that tests may empty, `redis://HOST:PORT/NUMBER`.

    Raises:
        RuntimeError: there is no redis-server to start, it does not answer, or the one that the
            environment names has too few databases.
    """
    if named := os.environ.get("RIVERRUN_TEST_REDIS_URL"):
        process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        url = named if urlsplit(named).path.strip("/") else f"{named.rstrip('/')}/0"
        url = database(url, process * DATABASES)
        if _has_databases(url):
            yield url
            return
        if process == 0:
            raise RuntimeError(
                f"`RIVERRUN_TEST_REDIS_URL` must name the first of {DATABASES} databases that "
                f"tests may empty. Received: {without_password(named)}."
            )
    server = RedisServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        # Nothing of it is kept, so it need not take leave of anyone.
        server.kill()


def _has_databases(url: str) -> bool:
    with redis.Redis.from_url(database(url, DATABASES - 1)) as client:
        try:
            client.ping()
        except redis.ResponseError:  # "DB index is out of range"
            return False
    return True


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
