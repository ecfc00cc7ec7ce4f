"""`riverrun` in processes of their own, which need not import what it needs."""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from riverrun.bench.server import free_port, own_environment, tail
from riverrun.readiness import wait_until_ready
from tests.support.forking import forking

_SECONDS = 300.0
_STOP_SECONDS = 30.0


def variables(values: Mapping[str, str]) -> Callable[[], None]:
    """Return what sets these variables of the environment `before` a command."""
    return partial(_set, values)


def _set(values: Mapping[str, str]) -> None:
    os.environ.update(values)


def _nothing() -> None:
    pass


def _main(
    arguments: list[str], stdout: Path | None, stderr: Path, before: Callable[[], object]
) -> None:
    for stream, file in ((sys.stdout, stdout), (sys.stderr, stderr)):
        stream.flush()
        if file is not None:
            with file.open("ab") as opened:
                os.dup2(opened.fileno(), stream.fileno())
    before()
    from riverrun.cli.main import main

    sys.argv = ["riverrun", *arguments]
    try:
        main()
    finally:
        # As every interpreter ends, but for one that was forked.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()


def _started(*arguments: object) -> BaseProcess:
    process = forking().Process(target=_main, args=arguments, daemon=True)
    process.start()
    return process


@contextmanager
def forked(arguments: list[str], folder: Path) -> Iterator[tuple[BaseProcess, TextIO]]:
    """Run `riverrun ARGUMENTS`; give its process and what it says on stderr, as it says it.

    folder: where the pipe between the two is made.
    """
    os.mkfifo(pipe := folder / "stderr")
    process = _started(arguments, None, pipe, _nothing)
    try:
        with pipe.open() as said:
            yield process, said
    finally:
        process.join()
        pipe.unlink()


def riverrun(
    *arguments: str, before: Callable[[], object] = _nothing
) -> subprocess.CompletedProcess[str]:
    """Run `riverrun ARGUMENTS` to its end, as `tests.support.command` does.

    before: what the process does first.
    """
    with TemporaryDirectory() as folder:
        stdout, stderr = Path(folder) / "stdout", Path(folder) / "stderr"
        process = _started([*arguments], stdout, stderr, before)
        process.join(_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            arguments, process.exitcode, stdout.read_text(), stderr.read_text()
        )


@contextmanager
def started(
    arguments: list[str], log: Path, before: Callable[[], object] = _nothing
) -> Iterator[BaseProcess]:
    """Run `riverrun ARGUMENTS`, both of its outputs at the end of the log, and kill it at last.

    before: what the process does first.
    """
    process = _started(arguments, log, log, before)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def stopped(process: BaseProcess, number: signal.Signals, seconds: float) -> int | None:
    """Send the signal; return what the process ends with, None where it takes longer."""
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(seconds)
    return process.exitcode


@dataclass(frozen=True)
class ForkedServer:
    url: str
    process: BaseProcess


@contextmanager
def forked_server(home: Path, command: str = "up") -> Iterator[ForkedServer]:
    """Start `riverrun COMMAND` on `home` at a free loopback port; stop it in the end.

    Its log is `server.log` in `home`.
    """
    port, log = str(free_port()), home / "server.log"
    process = _started(
        [command, "--home", str(home), "--port", port], log, log, variables(own_environment({}))
    )
    server = ForkedServer(f"http://127.0.0.1:{port}", process)
    try:
        assert wait_until_ready(server.url, lambda: not process.is_alive()), tail(log)
        yield server
    finally:
        process.terminate()
        process.join(_STOP_SECONDS)
        process.kill()
        process.join()
