"""What wrk has written down is read back, and percentiles are those of their own moments."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from riverrun.bench.recommend import WrkResult, parse_result, quiet_seconds, wrk_command
from riverrun.bench.swap import SCRIPT, Answers, _answers
from riverrun.errors import UserError

ANSWER_SECONDS = 0.2
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


class SlowAnswers(BaseHTTPRequestHandler):
    """Answers every request after the same time."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the request, wait, and answer with an empty object."""
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(ANSWER_SECONDS)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def slow_url() -> Iterator[str]:
    """A server that `SlowAnswers`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowAnswers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def loaded(url: str, folder: Path, connections: int, rate: int, seconds: int) -> WrkResult:
    """Load `url` by as many threads as connections; the answers are in `folder`."""
    users = folder / "users"
    users.write_text("u1\nu2")
    command = wrk_command(url, users, SCRIPT, connections, rate, seconds, threads=connections)
    done = subprocess.run(
        [*command, str(folder / "answers")], capture_output=True, text=True, check=True
    )
    return parse_result(done.stdout, quiet_seconds(rate))


@needs_wrk
def test_as_many_requests_are_asked_as_were_wanted_where_answers_are_slow(
    slow_url: str, tmp_path: Path
) -> None:
    # Waiting as long for each answer as between two requests would make it two thirds of them.
    result = loaded(slow_url, tmp_path, connections=64, rate=160, seconds=4)
    assert result.failed == 0
    assert result.per_second == pytest.approx(160, rel=0.2)


@needs_wrk
def test_latency_counts_from_when_a_request_was_due(slow_url: str, tmp_path: Path) -> None:
    # Twice as many as one connection can be answered: ever more of them wait.
    loaded(slow_url, tmp_path, connections=1, rate=round(2 / ANSWER_SECONDS), seconds=3)
    waited_from, answered = _answers(tmp_path / "answers")
    assert len(answered) > 5
    assert (answered - waited_from).max() > 3 * ANSWER_SECONDS
    assert np.diff(waited_from).min() < ANSWER_SECONDS / 2


def test_answers_of_all_threads_are_read_and_a_line_cut_off_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "answers.1").write_text("10.000000 10.005000\n11.000000 11.2")
    (tmp_path / "answers.2").write_text("10.500000 10.600000\n12.0000")
    asked, answered = _answers(tmp_path / "answers")
    np.testing.assert_allclose(asked, [10.0, 11.0, 10.5])
    np.testing.assert_allclose(answered, [10.005, 11.2, 10.6])


def test_percentiles_are_in_milliseconds() -> None:
    answers = Answers.of(np.arange(1, 101) / 1000)
    assert (answers.requests, answers.p50_ms) == (100, pytest.approx(50.5))
    assert answers.p99_ms == pytest.approx(99.01)
    assert Answers.of(np.zeros(0)).requests == 0


def test_what_wrk_prints_is_its_result_or_an_error() -> None:
    result = parse_result("Running\nRESULT 100 2000000 5000 9000 3\n")
    assert (result.requests, result.seconds, result.p99_ms, result.failed) == (100, 2.0, 9.0, 3)
    with pytest.raises(UserError, match="wrk failed: unable to connect"):
        parse_result("unable to connect")


def test_threads_share_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    command = wrk_command("http://x", Path("users"), SCRIPT, 32, 200, 5, threads=32)
    interval, quiet, connections = map(float, command[-3:])
    assert (interval, quiet, connections) == (pytest.approx(32 / 200 * 1000), 1000, 1)
    assert {"--threads=32", "--duration=6s"} <= set(command)


def test_an_endless_load_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    command = wrk_command("http://x", Path("users"), SCRIPT, 8, 0, 5)
    assert command[-3:] == ["0", "0", "8"]
    assert "--duration=5s" in command
