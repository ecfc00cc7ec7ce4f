"""What is logged of an exception."""

import errno
import io
from collections.abc import Callable, Iterator

import orjson
import pytest
import structlog

from riverrun.logging import configure_logging


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def logged(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what is written of an exception in a function that knows a password."""
    monkeypatch.setattr("sys.stderr", stream)

    def connect(password: str) -> None:
        raise ConnectionError(f"refused after {len(password)} letters")

    configure_logging()
    try:
        connect("to" + "psecret")
    except ConnectionError:
        structlog.get_logger("test").exception("no_connection", partition=3)
    return stream.getvalue()


def test_a_traceback_is_logged_without_what_variables_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    line = logged(io.StringIO(), monkeypatch)
    assert "topsecret" not in line
    event = orjson.loads(line)
    assert (event["event"], event["partition"]) == ("no_connection", 3)
    [failure] = event["exception"]
    assert failure["exc_value"] == "refused after 9 letters"
    assert failure["frames"][-1]["name"] == "connect"


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "exception", "critical"])
@pytest.mark.parametrize("stream", [Full, closed])
def test_who_logs_goes_on_where_no_line_can_be_written(
    monkeypatch: pytest.MonkeyPatch, level: str, stream: Callable[[], io.StringIO]
) -> None:
    configure_logging()
    monkeypatch.setattr("sys.stderr", stream())
    getattr(structlog.get_logger("test"), level)("something_happened", place=1)


def test_a_terminal_shows_a_traceback_as_python_does(monkeypatch: pytest.MonkeyPatch) -> None:
    text = logged(Terminal(), monkeypatch)
    assert "topsecret" not in text
    assert "Traceback (most recent call last):" in text
    assert text.rstrip().endswith("ConnectionError: refused after 9 letters")
