"""The HTTP server and signals, in a process that has nothing else."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import httpx
import pytest

from riverrun.cli.signals import unfinished

pytestmark = pytest.mark.timeout(120)

STOP_SECONDS = 10.0
PROGRAM = """
import socket, time
from fastapi import FastAPI
from streaming.stream_state import StateLost
from types import SimpleNamespace
from riverrun.cli.signals import end, end_in_time, stopped_by_signal
from riverrun.cli.until_stopped import ended_by
from riverrun.http_server import HttpServer

app = FastAPI()
stream = SimpleNamespace(failure=None)

@app.get("/")
def slowly(seconds: float = 0.0) -> str:
    if seconds:
        print("asked", flush=True)
        time.sleep(seconds)
    return "done"

@app.get("/fail")
def fail(lost: bool = False) -> None:
    stream.failure = StateLost("rebuild it.") if lost else RuntimeError("the disk is full")

listening = socket.create_server(("127.0.0.1", 0))
stopped = stopped_by_signal()
end_in_time(stopped, {}, lambda: stream.failure)
print(listening.getsockname()[1], flush=True)
try:
    HttpServer(app, ended_by(stopped, stream)).run(sockets=[listening])
finally:
    print("closed", flush=True)
CLOSING
end(stream.failure)
"""


class Program:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{self.line()}"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ends(self) -> tuple[int, str]:
        """Return the exit status, and what was said."""
        said, _ = self.process.communicate(timeout=2 * STOP_SECONDS)
        return self.process.returncode, said


@contextmanager
def program(closing: str = "") -> Iterator[Program]:
    text = PROGRAM.replace("CLOSING", closing)
    command = [sys.executable, "-c", text]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            running = Program(process)
            assert httpx.get(running.url, timeout=30).is_success
            yield running
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_all_is_closed(number: signal.Signals) -> None:
    with program() as running, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, running.url, params={"seconds": 2.0}, timeout=30)
        assert running.line() == "asked"
        running.process.send_signal(number)
        assert answer.result().json() == "done"
        status, said = running.ends()
    assert status == 0, said
    assert said.index("stopping") < said.index("closed") < said.index("stopped")
    assert "Traceback" not in said


def test_an_idle_connection_is_there_for_longer_than_clients_keep_theirs() -> None:
    expiry = httpx.Limits().keepalive_expiry
    assert expiry is not None
    with program() as running:
        connection = HTTPConnection(running.url.removeprefix("http://"), timeout=30)
        with closing(connection):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b'"done"'
            time.sleep(expiry + 1.0)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b'"done"'


def test_a_stream_that_has_failed_ends_the_server_with_status_1() -> None:
    with program() as running, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.get, running.url, params={"seconds": 1.0}, timeout=30)
        assert running.line() == "asked"
        assert httpx.get(f"{running.url}/fail", timeout=30).is_success
        assert answer.result().json() == "done"
        status, said = running.ends()
    assert status == 1, said
    assert "the disk is full" in said
    assert said.index("stopping") < said.index("closed") < said.index("stopped")


def test_a_signal_that_comes_twice_at_once_is_one() -> None:
    # As `timeout` sends it: to the process, and to its group.
    with program("time.sleep(1)") as running:
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGTERM)
        assert running.ends()[0] == 0


def test_a_second_signal_ends_it_at_once() -> None:
    with program("time.sleep(60)") as running:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(2.0)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(2.0) == -signal.SIGINT


def test_what_takes_too_long_to_close_is_cut_off() -> None:
    with program("time.sleep(60)") as running:
        start = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        status, said = running.ends()
        assert time.monotonic() - start < STOP_SECONDS
    assert status == 1
    assert "in vain for: the connections to close. Nothing is lost" in said


@pytest.mark.parametrize("lost", [True, False])
def test_a_stream_that_has_failed_and_cannot_close_ends_by_why_it_failed(lost: bool) -> None:
    with program("time.sleep(60)") as running:
        assert httpx.get(f"{running.url}/fail", params={"lost": lost}, timeout=30).is_success
        status, said = running.ends()
    assert status == (2 if lost else 1)
    assert ("It had failed: rebuild it." if lost else "It had failed: the disk is full") in said
    assert ("Nothing is lost" in said) != lost


def test_what_is_waited_for_is_named_with_what_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = {name: threading.Event() for name in ("archiver", "index-follower")}
    threads = [
        threading.Thread(target=event.wait, name=name, daemon=True)
        for name, event in let_go.items()
    ]
    for thread in threads:
        thread.start()
    monkeypatch.setattr(threading, "enumerate", lambda: [t for t in threads if t.is_alive()])
    doing = {"archiver": "archive", "index-follower": None}
    for thread, said in zip(
        threads, ("archiver (archive)", "index-follower (the log)"), strict=True
    ):
        assert unfinished(doing) == said
        let_go[thread.name].set()
        thread.join()
    assert unfinished(doing) == "the connections to close"
