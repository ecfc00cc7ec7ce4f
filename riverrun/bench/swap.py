"""What a swap of models costs requests: wrk's steady load while bundles are promoted in turn."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import numpy.typing as npt

from riverrun.bench.recommend import parse_result, quiet_seconds, wrk_command
from riverrun.bench.server import RunningServer, tail
from riverrun.errors import UserError
from trainer.refresh.bundle_versions import promote

SCRIPT = Path(__file__).with_name("swap.lua")
CONNECTIONS = 128
"""So many that only few wait for an answer when their next request is due."""
REST_SECONDS = 4.0
SWAP_SECONDS = 180.0
LONGEST_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Answers:
    """How the requests during swaps, or outside of them, were answered."""

    requests: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: npt.NDArray[np.float64]) -> "Answers":
        """Return the percentiles of latencies in seconds."""
        if not len(seconds):
            return cls(0, float("nan"), float("nan"))
        p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
        return cls(len(seconds), float(p50), float(p99))


@dataclass(frozen=True, slots=True)
class SwapResult:
    """Latencies count from the moment that a request was due, also where its connection was busy.

    A swap lasts from the promotion until the new model answers, loading and warming included.

    resident_bytes: of the server, before the first swap and some seconds after each.
    """

    during: Answers
    outside: Answers
    failed: int
    swap_seconds: Sequence[float]
    resident_bytes: Sequence[int]
    per_second: float


def measure_swaps(
    server: RunningServer,
    home: Path,
    users: Path,
    versions: Sequence[str],
    *,
    swaps: int,
    rate: int,
    stage: Callable[[str], None] = lambda title: None,
) -> SwapResult:
    """Promote `versions` in turn, `swaps` times, at `rate` requests a second.

    users: a file with one user id a line. Raises `UserError` where a model never begins to serve.
    """
    intervals: list[tuple[float, float]] = []
    resident: list[int] = []
    with (
        TemporaryDirectory(prefix="swap-", dir=home) as folder,
        httpx.Client(base_url=server.url, timeout=30) as client,
        _load(server.url, users, Path(folder) / "answers", rate) as process,
    ):
        time.sleep(REST_SECONDS)
        resident.append(server.resident_bytes)
        for number in range(swaps):
            serving = _serving(client)
            version = next(each for each in versions if each != serving)
            stage(f"swap {number + 1} of {swaps}")
            start = time.monotonic()
            promote(home / "bundles", version, datetime.now(UTC), "riverrun bench swap")
            _wait(client, version, home / "server.log")
            intervals.append((start, time.monotonic()))
            time.sleep(REST_SECONDS)
            resident.append(server.resident_bytes)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        asked, answered = _answers(Path(folder) / "answers")
    result = parse_result(output, quiet_seconds(rate))
    during = np.zeros(len(asked), np.bool_)
    for start, end in intervals:
        during |= (answered >= start) & (asked <= end)
    seconds = answered - asked
    return SwapResult(
        Answers.of(seconds[during]),
        Answers.of(seconds[~during]),
        result.failed,
        [end - start for start, end in intervals],
        resident,
        result.per_second,
    )


@contextmanager
def _load(url: str, users: Path, files: Path, rate: int) -> Iterator["subprocess.Popen[str]"]:
    command = wrk_command(
        url, users, SCRIPT, CONNECTIONS, rate, LONGEST_SECONDS, threads=CONNECTIONS
    )
    process = subprocess.Popen([*command, str(files)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _serving(client: httpx.Client) -> str:
    answer = client.post("/v1/recommend", json={"user_id": "nobody", "limit": 1})
    return str(answer.raise_for_status().json()["model_version"])


def _wait(client: httpx.Client, version: str, log: Path) -> None:
    deadline = time.monotonic() + SWAP_SECONDS
    while _serving(client) != version:
        if time.monotonic() > deadline:
            raise UserError(f"{version} did not serve within {SWAP_SECONDS:.0f} s:\n{tail(log)}")
        time.sleep(0.1)


def _answers(files: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return from when each request waited, and when it was answered, by the monotonic clock.

    Both in seconds.
    """
    # The last line of a file may be cut off where wrk was stopped.
    lines = [
        line.split()
        for file in sorted(files.parent.glob(f"{files.name}.*"))
        for line in file.read_text().splitlines()
    ]
    times = np.array([line for line in lines if len(line) == 2], dtype=np.float64).reshape(-1, 2)
    return times[:, 0], times[:, 1]
