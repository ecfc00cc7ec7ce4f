"""A command that several workers run on this machine, each with the cluster in `TF_CONFIG`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import forked_command
from tests.support.redis_server import free_port


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    output: Path

    def ended(self, code: int) -> str:
        """Return what it printed, ended with this code."""
        assert self.process.wait(timeout=200) == code, self.output.read_text()
        return self.output.read_text()


@dataclass(frozen=True)
class ForkedWorker:
    process: BaseProcess
    output: Path

    def ended(self, code: int) -> str:
        """Return what it printed, ended with this code."""
        self.process.join(timeout=200)
        assert self.process.exitcode == code, self.output.read_text()
        return self.output.read_text()


def _environments(workers: int) -> list[dict[str, str]]:
    """Return what is set for each worker of a cluster on this machine."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(workers)]}
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    configs = [json.dumps({"cluster": cluster, "task": task}) for task in tasks]
    return [{"TF_CONFIG": config, "COLUMNS": "1000"} for config in configs]


@contextmanager
def forked(arguments: list[str], workers: int) -> Iterator[list[ForkedWorker]]:
    """Run `riverrun ARGUMENTS` as so many forked workers; none outlives the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        made = []
        for index, environment in enumerate(_environments(workers)):
            output = folder / f"{index}.txt"
            before = forked_command.variables(environment)
            process = stack.enter_context(forked_command.started(arguments, output, before))
            made.append(ForkedWorker(process, output))
        yield made


@contextmanager
def started(command: Sequence[str], workers: int) -> Iterator[list[Worker]]:
    """Run the command as so many workers on this machine; none outlives the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def worker(index: int, environment: dict[str, str]) -> Worker:
            output = stack.enter_context((folder / f"{index}.txt").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return Worker(process, folder / f"{index}.txt")

        yield [worker(*each) for each in enumerate(_environments(workers))]
