"""`riverrun` in processes that are forked from one that has imported what a refresh needs.

Importing it takes longer than most steps of a small refresh. Nothing of TensorFlow has begun in the
process that is forked.
"""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

_PRELOADED = ["riverrun.cli.main", "riverrun.refreshing", "trainer.refresh.running", __name__]


def _main(arguments: list[str], stderr: Path) -> None:
    sys.stderr.flush()
    with stderr.open("wb") as opened:
        os.dup2(opened.fileno(), sys.stderr.fileno())
    from riverrun.cli.main import main

    sys.argv = ["riverrun", *arguments]
    main()


@contextmanager
def forked(arguments: list[str], folder: Path) -> Iterator[tuple[BaseProcess, TextIO]]:
    """Run `riverrun ARGUMENTS`; give its process and what it says on stderr, as it says it.

    folder: where the pipe between the two is made.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    os.mkfifo(pipe := folder / "stderr")
    process = context.Process(target=_main, args=(arguments, pipe), daemon=True)
    process.start()
    try:
        with pipe.open() as said:
            yield process, said
    finally:
        process.join()
        pipe.unlink()
