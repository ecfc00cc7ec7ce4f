"""Trainings and refreshes as an operator runs them: one at a time, resumed, written down."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from feature_repo.merging import KEPT
from feature_repo.whole_file import remove_unfinished
from serving.published_bundles import CURRENT
from trainer.refresh.bundle_versions import prune
from trainer.refresh.lock import refresh_lock
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.resuming import RefreshCheckpoint, RunCheckpoint, TrainingCheckpoint
from trainer.refresh.runs_file import Run, RunsFile

Clock = Callable[[], datetime]
Work = Callable[[RefreshCheckpoint, Callable[[str], None]], RefreshOutcome]
"""Does a refresh, going on from its checkpoint, and calls the function as each step begins.

It makes its bundle the current one, unless it refuses it.
"""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def run_training(
    bundles: Path,
    checkpoints: Path,
    work: Callable[[RefreshCheckpoint], RefreshOutcome],
    *,
    fresh: bool = False,
    clock: Clock = _utc_now,
) -> RefreshOutcome:
    """Do `work`, which asks no gates, and write down that its bundle serves.

    It goes on from what an interrupted training has left in `checkpoints`, unless this one is
    `fresh`.

    Raises `RefreshRunning` where another is at work, and what `work` raises.
    """
    with refresh_lock(bundles):
        if fresh:
            shutil.rmtree(checkpoints, ignore_errors=True)
        _remove_unfinished(bundles, clock())
        outcome = work(TrainingCheckpoint(checkpoints))
        if not outcome.refusals:
            RunsFile(bundles).add_promotion(outcome.bundle.name, clock(), "train")
        # Not before it is written down: until then the next try goes on from them.
        shutil.rmtree(checkpoints, ignore_errors=True)
        return outcome


def run_refresh(
    bundles: Path,
    checkpoints: Path,
    run_id: str | None,
    work: Work,
    *,
    keep: int,
    clock: Clock = _utc_now,
) -> tuple[Run, RefreshOutcome | None]:
    """Do `work` unless the run of this id has ended already; return the run and what was done.

    Without an id it is the run that `RunsFile.unfinished` returns, or else a new one. What a
    refused or failed run leaves is kept, and the bundle that served before serves on. The newest
    `keep` bundles stay.

    Raises `RefreshRunning` where another is at work, and what `work` raises, written down.
    """
    runs = RunsFile(bundles)
    logger = structlog.get_logger(__name__)
    with refresh_lock(bundles):
        now = clock()
        _remove_unfinished(bundles, now)
        if run_id is None:
            unfinished = runs.unfinished()
            run_id = unfinished.run_id if unfinished else f"{now:%Y%m%dT%H%M%SZ}"
        run = runs.begin(run_id, now)
        if run.status != "running":
            return run, None
        logger.info("refresh_began", run_id=run_id)
        checkpoint = RunCheckpoint(checkpoints, runs, run_id)
        timer = _StepTimer(runs, run_id)
        try:
            outcome = work(checkpoint, timer.begin)
            timer.end("done")
        except BaseException as error:
            timer.end("failed")
            # One that was interrupted goes on the next time; it has not failed.
            if isinstance(error, Exception):
                runs.finish(run_id, "failed", clock(), checkpoint.notes.version, str(error))
                logger.error("refresh_failed", run_id=run_id, reason=str(error))
            else:
                runs.interrupt(run_id)
            raise
        if not outcome.refusals:
            runs.add_promotion(outcome.bundle.name, clock(), f"refresh {run_id}")
        _finish(runs, run_id, outcome, clock())
        # Not before it is written down: until then the next try goes on from them.
        shutil.rmtree(checkpoints, ignore_errors=True)
        prune(bundles, keep)
        return runs.get(run_id), outcome


def _finish(runs: RunsFile, run_id: str, outcome: RefreshOutcome, now: datetime) -> None:
    """Write down how the run ended: in the table, and as one line of the log."""
    logger, version = structlog.get_logger(__name__), outcome.bundle.name
    if outcome.refusals:
        runs.finish(run_id, "refused", now, version, " ".join(outcome.refusals))
        logger.warning("refresh_refused", run_id=run_id, reasons=list(outcome.refusals))
    else:
        runs.finish(run_id, "published", now, version, outcome.left_open)
        logger.info(
            "refresh_published",
            run_id=run_id,
            bundle_version=version,
            left_open=outcome.left_open,
        )


def _remove_unfinished(bundles: Path, now: datetime) -> None:
    """Remove what a killed export, deletion or change of what serves has left.

    Nothing reads names that begin with a dot.
    """
    for pattern in (".building-*", ".deleted-*"):
        for folder in bundles.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
    # What is new stays: a promotion by hand goes on beside a refresh.
    remove_unfinished(bundles, CURRENT, now - KEPT)


class _StepTimer:
    """Writes down how long each step of a run takes: in the table, and as one line of the log."""

    def __init__(self, runs: RunsFile, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id
        self._step: tuple[str, float] | None = None
        self._logger = structlog.get_logger(__name__)

    def begin(self, step: str) -> None:
        """End the step before, and begin this one."""
        self.end("done")
        self._step = step, time.monotonic()

    def end(self, outcome: str) -> None:
        """End the step that has begun, if one has. Only one that is "done" gets into the table."""
        if self._step is None:
            return
        step, start = self._step
        self._step = None
        seconds = round(time.monotonic() - start, 3)
        self._logger.info(
            "refresh_step", run_id=self._run_id, step=step, seconds=seconds, outcome=outcome
        )
        if outcome == "done":
            self._runs.add_step(self._run_id, step, seconds)
