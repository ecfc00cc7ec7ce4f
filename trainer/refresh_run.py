"""A refresh as an operator runs it: one at a time, resumed after a crash, written down."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from trainer.bundle_versions import prune
from trainer.refresh import RefreshOutcome
from trainer.refresh_runs import RefreshRuns, Run
from trainer.resuming import VERSION, Notes

Work = Callable[[Notes, Callable[[str], None]], RefreshOutcome]
"""Does the refresh with what earlier tries of it have written down, and says which step begins."""


def run_refresh(
    bundles: Path,
    run_id: str | None,
    work: Work,
    *,
    keep: int,
    checkpoints: Path | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Run, RefreshOutcome | None]:
    """Run `work` unless the run of this id has ended already; return the run and what was done.

    `work` makes its bundle the current one, unless it refuses it: here that is written down.
    Without an id it is the run that was interrupted or that a full disk failed, if one was, and
    otherwise a new one. What a refused or failed run leaves is kept, and the bundle that served
    before serves on. `checkpoints` is the folder that `work` goes on from; it is removed once the
    run has been published or refused.

    Raises `RefreshRunning` where another is at work, and what `work` raises, written down.
    """
    runs = RefreshRuns(bundles)
    logger = structlog.get_logger(__name__)
    with runs.exclusive():
        _remove_unfinished(bundles)
        now = clock()
        if run_id is None:
            unfinished = runs.unfinished()
            run_id = unfinished.run_id if unfinished else f"{now:%Y%m%dT%H%M%SZ}"
        run = runs.begin(run_id, now)
        if run.status != "running":
            return run, None
        logger.info("refresh_began", run_id=run_id)
        notes = runs.notes(run_id)
        steps = _Steps(runs, run_id)
        try:
            done = work(notes, steps.begin)
            steps.end("done")
        except BaseException as error:
            steps.end("failed")
            # One that was interrupted goes on the next time; it has not failed.
            if isinstance(error, Exception):
                runs.finish(run_id, "failed", clock(), notes.get(VERSION), str(error))
                logger.error("refresh_failed", run_id=run_id, reason=str(error))
            raise
        version = done.bundle.name
        if done.refusals:
            runs.finish(run_id, "refused", clock(), version, " ".join(done.refusals))
            logger.warning("refresh_refused", run_id=run_id, reasons=list(done.refusals))
        else:
            runs.promoted(version, clock(), f"refresh {run_id}")
            runs.finish(run_id, "published", clock(), version)
            logger.info("refresh_published", run_id=run_id, bundle_version=version)
        # Not before it is written down: until then a run goes on from them.
        if checkpoints is not None:
            shutil.rmtree(checkpoints, ignore_errors=True)
        prune(bundles, keep)
        return next(each for each in runs.all() if each.run_id == run_id), done


class _Steps:
    """Writes down how long each step takes: in the table, and as one line of the log."""

    def __init__(self, runs: RefreshRuns, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id
        self._step: tuple[str, float] | None = None
        self._logger = structlog.get_logger(__name__)

    def begin(self, step: str) -> None:
        """End the step before, and begin this one."""
        self.end("done")
        self._step = step, time.monotonic()

    def end(self, outcome: str) -> None:
        if self._step is None:
            return
        step, start = self._step
        self._step = None
        seconds = round(time.monotonic() - start, 3)
        self._logger.info(
            "refresh_step", run_id=self._run_id, step=step, seconds=seconds, outcome=outcome
        )
        if outcome == "done":
            self._runs.stepped(self._run_id, step, seconds)


def _remove_unfinished(bundles: Path) -> None:
    """Remove what a killed export or deletion left; nothing reads names that begin with a dot."""
    for pattern in (".building-*", ".deleted-*"):
        for folder in bundles.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)
