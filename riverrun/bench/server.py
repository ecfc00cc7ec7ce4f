"""A real `riverrun up`, `serve` or `stream` in a process of its own, while a benchmark lasts."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from riverrun.errors import UserError
from riverrun.readiness import wait_until_ready
from riverrun.settings import FILES_IN_HOME
from riverrun.settings_variables import PREFIX

READY_SECONDS = 300.0
LOG_LINES = 15
"""How many of a log's last lines are shown where a process has failed."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Where the server listens, and its process; a worker is seen through its metrics."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def resident_bytes(self) -> int:
        """The process's resident set size now."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def peak_resident_bytes(self) -> int:
        """The largest resident set size the process has had."""
        status = Path(f"/proc/{self.process_id}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)
        return int(kilobytes) * 1024

    @property
    def cpu_seconds(self) -> float:
        """The processor time that the process has taken, all its threads together."""
        # After the command in parentheses, which may hold spaces: state is the third field.
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running_server(
    home: Path,
    command: str = "up",
    *,
    name: str = "server",
    port_option: str = "--port",
    path: str = "/readyz",
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningServer]:
    """Start `riverrun COMMAND` on `home` at a free loopback port; stop it in the end.

    name: of the log in `home`. path: what answers once the command has begun. environment:
    variables beside those of `own_environment`, such as settings.

    Raises `UserError` with the end of the log where it does not become ready.
    """
    port = free_port()
    log = home / f"{name}.log"
    arguments = [command, "--home", str(home), port_option, str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "riverrun", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=own_environment(environment or {}),
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + READY_SECONDS

    def ended() -> bool:
        return process.poll() is not None or time.monotonic() >= deadline

    try:
        if not wait_until_ready(url, ended, path):
            how = f"was not ready within {READY_SECONDS:.0f} s"
            if process.returncode is not None:
                how = f"stopped with code {process.returncode}"
            raise UserError(f"the {name} {how}:\n{tail(log)}")
        yield RunningServer(url, process)
    finally:
        stop_process(process)


def own_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables; log and stores are files in `home` unless in `changes`.

    What a benchmark sends must not reach the shop that this machine's settings name.
    """
    files = {f"{PREFIX}{name.upper()}": url for name, url in FILES_IN_HOME.items()}
    others = {name: value for name, value in os.environ.items() if name.upper() not in files}
    return {**others, **files, **changes}


def wait_until_embedded(url: str, within: float = 900.0) -> None:
    """Wait until every user has an embedding of the bundle that serves.

    Raises `UserError` where some have none after `within` seconds.
    """
    # The worker begins to embed once it has nothing else to do.
    time.sleep(3)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        metrics = httpx.get(f"{url}/metrics", timeout=10).raise_for_status().text
        if "riverrun_stream_reencoding 0.0" in metrics:
            return
        time.sleep(1)
    raise UserError(f"users were not embedded within {within:.0f} s.")


def metric_totals(url: str, metric: str, label: str) -> dict[str, float]:
    """Return the values of a metric by one of its labels, added up over the others."""
    totals: dict[str, float] = {}
    text = httpx.get(f"{url}/metrics", timeout=10).raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == metric:
                name = sample.labels[label]
                totals[name] = totals.get(name, 0.0) + sample.value
    return totals


def records_behind(url: str) -> float:
    """Return how many records of the log were still to be read, two seconds ago at most."""
    return sum(metric_totals(url, "riverrun_stream_lag", "topic").values())


def wait_until_read(url: str, within: float = 600.0) -> None:
    """Wait until the worker at `url` has read its log to the end.

    Raises `UserError` where it has not after `within` seconds.
    """
    deadline = time.monotonic() + within
    while records_behind(url):
        if time.monotonic() > deadline:
            raise UserError(f"the worker had not read its log within {within:.0f} s.")
        time.sleep(1)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop, and kill it if it does not within half a minute."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
