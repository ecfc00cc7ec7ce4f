"""A real Redis server for tests: the one of `RIVERRUN_TEST_REDIS_URL`, or one started here."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.server_process import ServerProcess

START_SECONDS = 20.0


class RedisServer(ServerProcess):
    """One server. Its port outlives `kill`, and its data only with `options` that keep them."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError(
                "`redis-server` must be on the PATH (apt-get install redis-server), "
                "or RIVERRUN_TEST_REDIS_URL must name a server that tests may empty."
            )
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


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Give the URL of an empty database, `redis://HOST:PORT/0`.

    Raises:
        RuntimeError: there is no redis-server to start, or it does not answer.
    """
    if url := os.environ.get("RIVERRUN_TEST_REDIS_URL"):
        yield url
        return
    server = RedisServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        # Nothing of it is kept, so it need not take leave of anyone.
        server.kill()


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
