"""What wrk has written down is read back, and percentiles are those of their own moments."""

from pathlib import Path

import numpy as np
import pytest

from riverrun.bench.recommend import parse_result, wrk_command
from riverrun.bench.swap import SCRIPT, Answers, _answers
from riverrun.errors import UserError


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


def test_connections_share_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    command = wrk_command("http://x", Path("users"), SCRIPT, 32, 200, 5, threads=32)
    pause, quiet, connections = map(float, command[-3:])
    assert (pause, quiet, connections) == (pytest.approx(32 / 200 * 1000), 1000, 1)
    assert {"--threads=32", "--duration=6s"} <= set(command)


def test_an_endless_load_asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    command = wrk_command("http://x", Path("users"), SCRIPT, 8, 0, 5)
    assert command[-3:] == ["0", "0", "8"]
    assert "--duration=5s" in command
