"""Latency and throughput of `/v1/recommend`, loaded by wrk from another process."""

import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from feature_repo.first_error import FirstError
from riverrun.errors import UserError
from serving.http.models import RecommendBody

SCRIPT = Path(__file__).with_name("recommend.lua")

CLIENT_SECONDS = 2.0
"""The average time between two requests of a connection of a steady load."""

QUIET_SECONDS = 1
"""At the start of a steady load its hundreds of clients connect, and none asks yet."""


@dataclass(frozen=True, slots=True)
class Load:
    """Connections, and requests per second over all of them; a rate of 0 means unlimited."""

    connections: int
    rate: int = 0

    @classmethod
    def steady(cls, rate: int) -> "Load":
        """Return a load that keeps its rate where the server is slow.

        Requests are due at moments that no answer changes, but each needs a connection. If there
        were few, all would wait, and none ask, whenever the server stalls, and the stall would be
        missing from the percentiles ("coordinated omission"). Of as many as here, only few wait.
        """
        return cls(math.ceil(rate * CLIENT_SECONDS), rate)


@dataclass(frozen=True, slots=True)
class WrkResult:
    """The totals that wrk's scripts print."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


def request_fields(given: str) -> str:
    """Return the fields that each request has besides its user, as JSON without its first brace.

    given: fields of a request as a JSON object. Raises `UserError` where the API would refuse them.
    """
    try:
        fields = orjson.loads(given)
        if not isinstance(fields, dict) or "user_id" in fields:
            raise UserError(f"--fields must be a JSON object without `user_id`. Received: {given}")
        RecommendBody.model_validate(fields | {"user_id": "u"})
    except orjson.JSONDecodeError as error:
        raise UserError(f"--fields must be JSON: {error}. Received: {given}") from None
    except ValidationError as error:
        first = FirstError.of(error)
        raise UserError(f"--fields: {first.key}: {first.statement}") from None
    return orjson.dumps({"limit": 20} | fields).decode().removeprefix("{")


def measure(urls: Sequence[str], users: Path, load: Load, seconds: int, fields: str) -> WrkResult:
    """Load servers for `seconds` with users drawn from the file `users`, one id a line.

    urls: `http://127.0.0.1:PORT`; each has its share of the connections. fields: as
    `request_fields` returns them.
    """
    urls = urls[: load.connections]
    command = wrk_command(
        urls[0], users, SCRIPT, load.connections, load.rate, seconds, threads=len(urls)
    )
    ports = ",".join(url.rpartition(":")[2] for url in urls)
    environment = {
        **os.environ,
        "RIVERRUN_BENCH_PORTS": ports,
        "RIVERRUN_BENCH_FIELDS": fields,
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise UserError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    return parse_result(done.stdout, quiet_seconds(load.rate))


def quiet_seconds(rate: int) -> int:
    """Return the seconds without requests at the start of a load of this rate."""
    return QUIET_SECONDS if rate else 0


def wrk_command(
    url: str, users: Path, script: Path, connections: int, rate: int, seconds: int, threads: int = 1
) -> Sequence[str]:
    """Return wrk's command line for a load of `seconds`, and a quiet second before a steady one.

    `script` is given the users' file, the milliseconds between two requests of a thread, the quiet
    ones, and the number of connections of a thread.
    """
    wrk = require_wrk()
    interval_ms = threads / rate * 1000 if rate else 0
    quiet = quiet_seconds(rate)
    return [
        wrk,
        f"--threads={threads}",
        f"--connections={connections}",
        f"--duration={seconds + quiet}s",
        "--timeout=10s",
        f"--script={script}",
        f"{url}/v1/recommend",
        "--",
        str(users),
        str(interval_ms),
        str(quiet * 1000),
        str(connections // threads),
    ]


def require_wrk() -> str:
    """Return the path of wrk. Raises `UserError` where there is none."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise UserError("wrk, the load generator, is not on the PATH: apt-get install wrk.")
    return wrk


def parse_result(output: str, quiet: int = 0) -> WrkResult:
    """Return the result that the script printed at the end of wrk's run, less quiet seconds."""
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise UserError(f"wrk failed: {output.strip()}")
    requests, microseconds, p50, p99, failed = (int(field) for field in line.split()[1:])
    return WrkResult(requests, microseconds / 1e6 - quiet, p50 / 1e3, p99 / 1e3, failed)
