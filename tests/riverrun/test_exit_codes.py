"""What the command ends with, and the one line that says why."""

import sys
import threading
from errno import EACCES, EDQUOT, ENOSPC
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from prometheus_client import CollectorRegistry
from redis import exceptions as redis

from feature_repo.event_log import EventLogError, LostPositionError
from feature_repo.shop_file import PassingShopFileError, ShopFileError
from riverrun import __version__
from riverrun.cli import import_session, main, stream
from riverrun.cli.signals import LATER, end
from riverrun.errors import RunFailedError, UserError, failed_by
from streaming.metrics import StreamMetrics
from streaming.stream_state import ForeignShop, StateError, StateLost


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("a setting is wrong"), 2),
        (ShopFileError("runs.sqlite: file is not a database"), 2),
        (PassingShopFileError("runs.sqlite: database is locked"), 1),
        (RunFailedError("OOM when allocating tensor"), 1),
        (OSError(ENOSPC, "No space left on device", "out"), 1),
        (OSError(EDQUOT, "Disk quota exceeded", "out"), 1),
        (OSError(EACCES, "Permission denied", "out"), 2),
    ],
)
def test_what_may_pass_ends_with_another_code_than_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    said = f"out: {error.strerror}." if isinstance(error, OSError) else str(error)
    assert capsys.readouterr().err.splitlines() == [f"riverrun: {said}"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("nothing", "No such command 'nothing'. See riverrun --help"),
        (
            "up --prot 1",
            "No such option: --prot (Possible options: --host, --port). See riverrun up --help",
        ),
        ("up --port", "Option '--port' requires an argument. See riverrun --help"),
        (
            "up --port abc",
            "Invalid value for '--port' / '-p': Input should be a valid integer, unable to parse "
            "string as an integer. Received: 'abc'. See riverrun up --help",
        ),
        *(
            (
                f"{command} --days 1000000",
                "Invalid value for '--days': Input should be less than or equal to 36500. "
                f"Received: '1000000'. See riverrun {command} --help",
            )
            for command in ("refresh", "replay")
        ),
        (
            "tune --trials 1",
            "Invalid value for '--trials': Input should be greater than or equal to 2. Received: "
            "'1'. See riverrun tune --help",
        ),
        ("up [/x]", "Got unexpected extra argument(s) ([/x]). See riverrun up --help"),
        ("import items", "Missing argument 'FILE...'. See riverrun import items --help"),
        ("sample", "Missing option '--out'. See riverrun sample --help"),
        (
            "replay --refresh hourly",
            "Invalid value for '--refresh': 'hourly' is not one of 'daily', 'weekly'. Received: "
            "'hourly'. See riverrun replay --help",
        ),
    ],
)
def test_a_command_line_that_is_none_is_one_line_and_the_way_to_its_help(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    line: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["riverrun", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"riverrun: {line}"]
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "first"),
    [
        ("", 2, "Usage: riverrun [OPTIONS] COMMAND [ARGS]..."),
        ("import", 2, "Usage: riverrun import [OPTIONS] COMMAND [ARGS]..."),
        ("up --help", 0, "Usage: riverrun up [OPTIONS]"),
        ("--version", 0, f"riverrun {__version__}"),
    ],
)
def test_help_and_version_are_results(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    code: int,
    first: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["riverrun", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert (ended.value.code or 0) == code
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.split("\n\n")[0].strip().splitlines()[0].strip() == first


@pytest.mark.parametrize(
    ("failure", "code"), [(KeyboardInterrupt(), 130), (typer.Exit(4), 4), (typer.Exit(), 0)]
)
def test_what_a_command_ends_with_is_what_the_process_ends_with(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int
) -> None:
    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(sys, "argv", ["riverrun", "import", "shop", "folder"])
    monkeypatch.setattr(import_session, "shop_files", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (ConnectionRefusedError(111, "Connection refused"), 1),
        (TimeoutError("timed out"), 1),
        (redis.ConnectionError("Error 111 connecting to redis:6379"), 1),
        (redis.TimeoutError("Timeout reading from socket"), 1),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), 1),
        (redis.ReadOnlyError("You can't write against a read only replica."), 1),
        (redis.AuthenticationError("invalid username-password pair"), 2),
        (redis.ResponseError("unknown command"), 2),
        (None, 2),
    ],
)
@pytest.mark.parametrize("kind", [EventLogError, StateError])
def test_a_server_that_does_not_answer_may_pass_and_what_one_refuses_does_not(
    kind: type[Exception], cause: Exception | None, code: int
) -> None:
    error = kind("state redis://redis:6379/0: cannot be read.")
    error.__cause__ = cause
    ended = failed_by(error)
    assert isinstance(ended, RunFailedError) == (code == 1)
    assert str(ended) == str(error)


def test_a_state_that_is_lost_does_not_come_back_by_itself() -> None:
    assert isinstance(failed_by(StateLost("repeat `riverrun rebuild`.")), UserError)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StateLost("repeat `riverrun rebuild`."), 2),
        (ForeignShop("set another database."), 2),
        (LostPositionError("records are gone."), 2),
        (ShopFileError("erasures/00000.json: cannot be used."), 2),
        (PassingShopFileError("registry.db: cannot be used: database is locked."), 1),
        (StateError("state redis://redis:6379/0: cannot be read."), 1),
        (OSError("No space left on device"), 1),
    ],
)
def test_a_stream_that_failed_ends_by_whether_another_start_may_help(
    capsys: pytest.CaptureFixture[str], failure: Exception, code: int
) -> None:
    stopped = threading.Event()
    worker = SimpleNamespace(
        stream=SimpleNamespace(failure=failure), metrics=StreamMetrics(CollectorRegistry())
    )
    stream._watch(worker, stopped)  # type: ignore[arg-type]
    assert stopped.is_set()
    with pytest.raises(typer.Exit) as ended:
        end(worker.stream.failure)
    assert ended.value.exit_code == code
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("riverrun: stopped")
    assert str(failure) in line
    assert line.endswith(LATER) == (code == 1)


@pytest.mark.parametrize("command", ["topics list", "dead-letters list"])
def test_a_broker_that_is_away_is_one_line_and_code_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.setenv("RIVERRUN_LOG_URL", "kafka://127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["riverrun", *command.split(), "--home", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("riverrun: kafka 127.0.0.1:9: ")
