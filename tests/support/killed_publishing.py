"""A refresh that is killed by SIGKILL as it publishes, and then goes on to its end.

    python -m tests.support.killed_publishing FOLDER TEXT_MODEL

The two are those of a `resumed_refresh.shop_of` in which a bundle serves. What each try has left is
a line: which version serves, and the status of the run.

Each try is a fork of a process that has imported the most of what a try needs, and begun nothing.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import ibis  # noqa: F401

from serving.published_bundles import CURRENT, current_version
from tests.support import blank_bundle, tiny_training  # noqa: F401
from tests.support.forked_tries import tries
from trainer.refresh import steps  # noqa: F401
from trainer.refresh.running import run_refresh
from trainer.refresh.runs_file import RunsFile

RUN_ID = "killed"
RENAMED, PROMOTED = range(2)
"""Where a try is killed: as `CURRENT` is to be replaced by what was written; once it is, as that is
to be written down."""
KILLS = (RENAMED, RENAMED, PROMOTED, PROMOTED)
NOWHERE = -1


def die_at(place: int) -> None:
    """Kill this process there."""
    reached = NOWHERE

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal reached
        if event == "os.rename" and Path(str(arguments[1])).name == CURRENT:
            reached = RENAMED
        elif event == "sqlite3.connect" and reached >= RENAMED:
            reached += 1
        else:
            return
        if reached == place:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def try_once(folder: Path, text_model: Path, place: int) -> None:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for its log
    if place != NOWHERE:
        die_at(place)
    # As it is imported it makes a table, of which the threads of Polars would be lost by a fork.
    from tests.support.resumed_refresh import NOW, shop_of

    shop = shop_of(folder, text_model)
    run_refresh(
        shop.bundles,
        shop.checkpoints,
        RUN_ID,
        lambda checkpoint, begin: shop.refreshed(checkpoint),
        keep=5,
        clock=lambda: NOW,
    )


def main(folder: Path, text_model: Path) -> None:
    bundles = folder / "bundles"
    for _ in tries(KILLS, NOWHERE, partial(try_once, folder, text_model)):
        print(current_version(bundles), RunsFile(bundles).get(RUN_ID).status, flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
