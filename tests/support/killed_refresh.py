"""A refresh that is killed by SIGKILL in the middle of its steps, and then goes on to its end.

    python -m tests.support.killed_refresh FOLDER PRESET STEPS

FOLDER is that of a `shop_to_refresh` in which a bundle serves. STEPS becomes a list of the steps
that were trained, by stage and epoch, whichever try trained them.

Each try is a fork of a process that has imported TensorFlow and begun nothing: importing it takes
longer than the try.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support.forked_tries import tries
from tests.support.step_by_step import step_by_step
from tests.support.tiny_refresh import GATES, NOW, TinyRefresh
from trainer.listener import Listener
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import RefreshCheckpoint
from trainer.refresh.running import run_refresh
from trainer.settings import WarmStartSettings
from trainer.train import Progress

RUN_ID = "killed"
STAGES = ("Training, the newest events held out", "Training on everything")
UNTIL = 30
"""Hours of events that the refresh learns from; the bundle that serves knows fewer."""


@dataclass(frozen=True)
class Place:
    """Where a try is killed: in an epoch of a stage, or as it opens a file of this pattern.

    behind: only where a file of this name lies in the same folder.
    """

    stage: str = ""
    epoch: int = 0
    file: str = ""
    behind: str = ""


_BEST_EPOCH = "best-epoch.npz"
_BEST = Place(file=f"*/held-out/.{_BEST_EPOCH}.*")
"""The best epoch is judged, and not written."""
_BETTER = Place(file=_BEST.file, behind=_BEST_EPOCH)
"""A better epoch is judged, and the one before is what is written."""
_HELD_OUT, FULL = (Place(stage, epoch=2) for stage in STAGES)
_CANDIDATES = Place(file="*/.building-*/candidates/embeddings.npy")
"""The SavedModel is written."""
_MANIFEST = Place(file="*/.building-*/manifest.json")
# Each step twice; in the training on everything at the same place.
KILLS = (_BEST, _BETTER, _HELD_OUT, FULL, FULL, _CANDIDATES, _MANIFEST)
NOWHERE = Place()


def shop_to_refresh(folder: Path, preset: Path) -> TinyRefresh:
    """Return a shop whose warm trainings take two epochs, the second being the better one."""
    shop = TinyRefresh(folder, preset, TextEmbeddingCache(folder / "texts.sqlite"))
    warm = WarmStartSettings(epochs=2, min_users=10, learning_rate=1e-2)
    shop.settings = shop.settings.model_copy(update={"warm_start": warm})
    return shop


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_file(place: Place) -> None:
    """Kill this process as it opens such a file to write."""

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open":
            return
        path, mode, _ = arguments
        if not str(mode).startswith("w") or not fnmatch(str(path), place.file):
            return
        if not place.behind or Path(str(path)).with_name(place.behind).exists():
            die()

    sys.addaudithook(hear)


def run_once(
    shop: TinyRefresh, on_step: Callable[[str, Progress], None] = lambda stage, progress: None
) -> RefreshOutcome | None:
    """Refresh as `riverrun refresh` does; None where the run has ended before."""
    stage = ""

    def begin(title: str) -> None:
        nonlocal stage
        stage = title

    def work(checkpoint: RefreshCheckpoint, timed: Callable[[str], None]) -> RefreshOutcome:
        listener = Listener(begin, step=lambda progress: on_step(stage, progress)).also(timed)
        return shop.refreshed(UNTIL, checkpoint=checkpoint, listener=listener, gates=GATES)

    _, outcome = run_refresh(
        shop.bundles, shop.checkpoints, RUN_ID, work, keep=5, clock=lambda: NOW
    )
    return outcome


def try_once(folder: Path, preset: Path, steps: Path, place: Place) -> None:
    if place.file:
        die_at_file(place)

    def on_step(stage: str, progress: Progress) -> None:
        with steps.open("a") as file:
            file.write(f"{STAGES.index(stage)} {progress.epoch}\n")
        if (stage, progress.epoch) == (place.stage, place.epoch):
            die()

    with step_by_step():
        run_once(shop_to_refresh(folder, preset), on_step)


def main(folder: Path, preset: Path, steps: Path) -> None:
    for _ in tries(KILLS, NOWHERE, partial(try_once, folder, preset, steps)):
        pass


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
