"""How long the steps of refreshes take."""

import time
from pathlib import Path

import structlog

from trainer.runs_file import RunsFile


class RunSteps:
    """The table of the seconds that each step of a run took, the last time it was gone through."""

    def __init__(self, bundles: Path) -> None:
        self._file = RunsFile(bundles)

    def add(self, run_id: str, step: str, seconds: float) -> None:
        """Write down how long a step of the run took."""
        with self._file.connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (run_id, step, seconds)
            )

    def seconds(self, run_id: str) -> dict[str, float]:
        """Return the seconds of each step that the run has gone through, in their order."""
        with self._file.connected() as connection:
            return dict(
                connection.execute(
                    "SELECT step, seconds FROM steps WHERE run_id = ? ORDER BY rowid", (run_id,)
                ).fetchall()
            )


class StepTimer:
    """Writes down how long each step of a run takes: in the table, and as one line of the log."""

    def __init__(self, steps: RunSteps, run_id: str) -> None:
        self._steps = steps
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
            self._steps.add(self._run_id, step, seconds)
