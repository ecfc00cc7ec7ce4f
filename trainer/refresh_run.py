"""Trainings and refreshes as an operator runs them: one at a time, resumed, written down."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from trainer.bundle_versions import prune
from trainer.promotions import Promotions
from trainer.refresh import RefreshOutcome
from trainer.refresh_lock import refresh_lock
from trainer.refresh_notes import RefreshNotes
from trainer.refresh_runs import RefreshRuns, Run
from trainer.resuming import RefreshCheckpoint, RunCheckpoint, TrainingCheckpoint
from trainer.run_notes import RunNotes
from trainer.run_steps import RunSteps, StepTimer

Clock = Callable[[], datetime]
Work = Callable[[RefreshCheckpoint, Callable[[str], None]], RefreshOutcome]
"""Does a refresh, from what earlier tries of it have left, and says which step begins.

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
        _remove_unfinished(bundles)
        outcome = work(TrainingCheckpoint(checkpoints))
        _end(bundles, checkpoints, outcome, clock, "train")
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

    Without an id it is the run that was interrupted or that a full disk failed, if one was, and
    otherwise a new one. What a refused or failed run leaves is kept, and the bundle that served
    before serves on. Of bundles the newest `keep` stay.

    Raises `RefreshRunning` where another is at work, and what `work` raises, written down.
    """
    runs = RefreshRuns(bundles)
    logger = structlog.get_logger(__name__)
    with refresh_lock(bundles):
        _remove_unfinished(bundles)
        now = clock()
        if run_id is None:
            unfinished = runs.unfinished()
            run_id = unfinished.run_id if unfinished else f"{now:%Y%m%dT%H%M%SZ}"
        run = runs.begin(run_id, now)
        if run.status != "running":
            return run, None
        logger.info("refresh_began", run_id=run_id)
        notes = RefreshNotes(RunNotes(bundles, run_id))
        timer = StepTimer(RunSteps(bundles), run_id)
        try:
            outcome = work(RunCheckpoint(checkpoints, notes), timer.begin)
            timer.end("done")
        except BaseException as error:
            timer.end("failed")
            # One that was interrupted goes on the next time; it has not failed.
            if isinstance(error, Exception):
                runs.finish(run_id, "failed", clock(), notes.version, str(error))
                logger.error("refresh_failed", run_id=run_id, reason=str(error))
            raise
        version = outcome.bundle.name

        def finish() -> None:
            if outcome.refusals:
                runs.finish(run_id, "refused", clock(), version, " ".join(outcome.refusals))
                logger.warning("refresh_refused", run_id=run_id, reasons=list(outcome.refusals))
            else:
                runs.finish(run_id, "published", clock(), version, outcome.left_open)
                logger.info(
                    "refresh_published",
                    run_id=run_id,
                    bundle_version=version,
                    left_open=outcome.left_open,
                )

        _end(bundles, checkpoints, outcome, clock, f"refresh {run_id}", finish)
        prune(bundles, keep)
        return runs.get(run_id), outcome


def _end(
    bundles: Path,
    checkpoints: Path,
    outcome: RefreshOutcome,
    clock: Clock,
    reason: str,
    finish: Callable[[], None] = lambda: None,
) -> None:
    """Write down that the bundle serves, if it does, and how the work ended; then forget it."""
    if not outcome.refusals:
        Promotions(bundles).add(outcome.bundle.name, clock(), reason)
    finish()
    # Not before it is written down: until then the next try goes on from them.
    shutil.rmtree(checkpoints, ignore_errors=True)


def _remove_unfinished(bundles: Path) -> None:
    """Remove what a killed export or deletion left; nothing reads names that begin with a dot."""
    for pattern in (".building-*", ".deleted-*"):
        for folder in bundles.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
