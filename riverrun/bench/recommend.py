"""Latency and throughput of `/v1/recommend`, loaded by wrk from another process."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from riverrun.errors import UserError

SCRIPT = Path(__file__).with_name("recommend.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """Connections, and requests per second over all of them; a rate of 0 means unlimited."""

    connections: int
    rate: int = 0


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What wrk measured."""

    load: Load
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


def measure(url: str, users: Path, load: Load, seconds: int) -> LoadResult:
    """Load `url` for `seconds` with users drawn from the file `users`, one id a line."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise UserError("wrk, the load generator, is not on the PATH: apt-get install wrk.")
    pause_ms = load.connections / load.rate * 1000 if load.rate else 0
    command: Sequence[str] = [
        wrk,
        "--threads=1",
        f"--connections={load.connections}",
        f"--duration={seconds}s",
        "--timeout=10s",
        f"--script={SCRIPT}",
        f"{url}/v1/recommend",
        "--",
        str(users),
        str(pause_ms),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    requests, microseconds, p50, p99, failed = (int(field) for field in line.split()[1:])
    return LoadResult(load, requests, microseconds / 1e6, p50 / 1e3, p99 / 1e3, failed)
