"""The runs of refreshes: each is resumed by its id, and kept for questions afterwards."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Literal

from trainer.runs_file import RunsFile

Status = Literal["running", "published", "refused", "failed"]

_NO_ROOM = re.compile(
    "|".join(
        [
            *(re.escape(os.strerror(number)) for number in (ENOSPC, EDQUOT)),
            "database or disk is full",  # SQLite
            r"\d+ requested and \d+ written",  # NumPy
        ]
    )
)
"""What is said where a disk is full: TensorFlow, safetensors and Polars raise no `OSError`."""


@dataclass(frozen=True, slots=True)
class Run:
    """One refresh. version: of its bundle, once it has one. message: why refused or failed."""

    run_id: str
    status: Status
    started_at: datetime
    finished_at: datetime | None
    version: str | None
    message: str


class RefreshRuns:
    """The table of runs."""

    def __init__(self, bundles: Path) -> None:
        self._file = RunsFile(bundles)

    def begin(self, run_id: str, now: datetime) -> Run:
        """Return the run of this id, begun now or before; one that failed is tried again."""
        with self._file.connected() as connection:
            connection.execute(
                "INSERT INTO runs (run_id, status, started_at) VALUES (?, 'running', ?) "
                "ON CONFLICT DO UPDATE SET status = 'running', finished_at = NULL, message = '' "
                "WHERE status = 'failed'",
                (run_id, now.isoformat()),
            )
        return self.get(run_id)

    def get(self, run_id: str) -> Run:
        """Return the run of this id.

        Raises `KeyError` where none has begun.
        """
        with self._file.connected() as connection:
            query = f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?"
            row = connection.execute(query, (run_id,)).fetchone()
        if row is None:
            raise KeyError(run_id)
        return _run(*row)

    def unfinished(self) -> Run | None:
        """Return the run to go on with, if there is one; ask under `refresh_lock`.

        It is the newest that began and did not end; or the newest of all, where a full disk failed
        it: with room it can end. One that failed of anything else would do so again.
        """
        runs = self.all()
        if runs and runs[0].status == "failed" and _NO_ROOM.search(runs[0].message):
            return runs[0]
        return next((run for run in runs if run.status == "running"), None)

    def begun_since(self, moment: datetime, now: datetime) -> bool:
        """Return whether any run has begun at `moment` or later, or was gone on with and ended.

        What was written down of later than `now` tells nothing: the clock was ahead.
        """
        times = [(run.started_at, run.finished_at) for run in self.all()]
        return any(each and moment <= each <= now for run in times for each in run)

    def finish(
        self, run_id: str, status: Status, now: datetime, version: str | None, message: str = ""
    ) -> None:
        """Write down how the run ended."""
        with self._file.connected() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, finished_at = ?, version = ?, message = ? "
                "WHERE run_id = ?",
                (status, now.isoformat(), version, message, run_id),
            )

    def all(self) -> list[Run]:
        """Return every run, the newest first."""
        query = f"SELECT {_COLUMNS} FROM runs ORDER BY started_at DESC, rowid DESC"
        with self._file.connected() as connection:
            return [_run(*row) for row in connection.execute(query)]


_COLUMNS = "run_id, status, started_at, finished_at, version, message"


def _run(run_id: str, status: Status, started: str, finished: str | None, *others: Any) -> Run:
    ended = None if finished is None else _time(finished)
    return Run(run_id, status, _time(started), ended, *others)


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored).astimezone(UTC)
