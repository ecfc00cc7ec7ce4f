"""A command that several workers run on this machine, each with the cluster in `TF_CONFIG`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.redis_server import free_port


@dataclass(frozen=True)
class Worker:
    process: subprocess.Popen[bytes]
    output: Path

    def ended(self, code: int) -> str:
        """Return what it printed, ended with this code."""
        assert self.process.wait(timeout=200) == code, self.output.read_text()
        return self.output.read_text()


@contextmanager
def started(command: Sequence[str], workers: int) -> Iterator[list[Worker]]:
    """Run the command as so many workers on this machine; none outlives the block."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(workers)]}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))

        def worker(index: int) -> Worker:
            config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
            output = stack.enter_context((folder / f"{index}.txt").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, "TF_CONFIG": config, "COLUMNS": "1000"},
                stdout=output,
                stderr=output,
                cwd=Path(__file__).parents[2],
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return Worker(process, folder / f"{index}.txt")

        yield [worker(index) for index in range(workers)]
