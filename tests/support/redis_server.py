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

START_SECONDS = 20.0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Give the URL of an empty database, `redis://HOST:PORT/0`.

    Raises:
        RuntimeError: there is no redis-server to start, or it does not answer.
    """
    if url := os.environ.get("RIVERRUN_TEST_REDIS_URL"):
        yield url
        return
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError(
            "`redis-server` must be on the PATH (apt-get install redis-server), "
            "or RIVERRUN_TEST_REDIS_URL must name a server that tests may empty."
        )
    port = _free_port()
    log = folder / "redis.log"
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no"], stdout=output, stderr=output
        )
    try:
        _wait_until_it_answers(server, port, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def _wait_until_it_answers(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(port=port) as client:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.02)
            else:
                return
    raise RuntimeError(f"redis-server on port {port} does not answer:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
