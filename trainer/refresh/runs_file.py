"""The file that keeps what refreshes did: who serves reads it while a refresh writes it."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from feature_repo.full_disk import FULL_REASONS
from feature_repo.shop_file import opening
from trainer.worker_lost import WORKER_LOST

WITHOUT_IT = "Remove it: the bundles stay, but which served before and what refreshes did is lost."

# An older file has a table `notes` too, of another form, which nothing reads any more.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, status TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    version TEXT, message TEXT NOT NULL DEFAULT ''
);
-- What the steps of a run have found out, as JSON: it need not find it out again after a crash.
CREATE TABLE IF NOT EXISTS run_notes (run_id TEXT PRIMARY KEY, notes TEXT NOT NULL);
-- How long each step took, the last time it was gone through.
CREATE TABLE IF NOT EXISTS steps (
    run_id TEXT NOT NULL, step TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (run_id, step)
);
-- What was last measured of how far events are from what `version` has learned from.
CREATE TABLE IF NOT EXISTS drift (
    signal TEXT PRIMARY KEY, value REAL NOT NULL, version TEXT NOT NULL, at TEXT NOT NULL
);
-- Which version served from when on, and why.
CREATE TABLE IF NOT EXISTS promotions (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, version TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_start ON runs (started_at);
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status, started_at);
-- How often runs have ended, which `runs` does not tell of those that were tried again.
CREATE TABLE IF NOT EXISTS ends (outcome TEXT PRIMARY KEY, number INTEGER NOT NULL);
-- A trigger, so that what a refresh of an older version writes counts too.
CREATE TRIGGER IF NOT EXISTS count_ends AFTER UPDATE OF status ON runs WHEN NEW.status <> 'running'
BEGIN
    UPDATE ends SET number = number + 1 WHERE outcome = NEW.status;
END;
"""

_KILLED, _INTERRUPTED = "killed", "interrupted"
"""The messages of runs that are to be gone on with. One without a message is at work, or its
process could not write anything any more: nobody has begun a run since."""
PROMOTED, _ROLLED_BACK = "promoted", "rolled back from "
LOG_AWAY = "the log cannot be read now"
"""How the message of a failed run says that the log could not be read."""
_PASSES = re.compile(
    "|".join(
        [
            re.escape(LOG_AWAY),
            re.escape(WORKER_LOST),
            *map(re.escape, FULL_REASONS),
            "database or disk is full",  # SQLite
            r"\d+ requested and \d+ written",  # NumPy
        ]
    )
)
"""What is in the message of a run that failed of something that may pass: a log that cannot be
read, a worker that is gone, or a full disk, which TensorFlow, safetensors and Polars tell without
an `OSError`."""

Outcome = Literal["published", "refused", "failed"]
Status = Literal["running"] | Outcome


@dataclass(frozen=True, slots=True)
class Run:
    """One refresh. version: of its bundle, once it has one. message: why refused or failed."""

    run_id: str
    status: Status
    started_at: datetime
    finished_at: datetime | None
    version: str | None
    message: str


class RunsFile:
    """The SQLite file `runs.sqlite` of the folder of bundles: runs, promotions, and drift.

    Its methods raise `ShopFileError` where it is damaged, or cannot be written.
    """

    def __init__(self, bundles: Path) -> None:
        bundles.mkdir(parents=True, exist_ok=True)
        self._file = bundles / "runs.sqlite"
        with self._connected() as connection:
            connection.executescript(_SCHEMA)
            if connection.execute("SELECT 1 FROM ends").fetchone() is None:
                connection.executemany(
                    "INSERT OR IGNORE INTO ends "
                    "SELECT :outcome, count(*) FROM runs WHERE status = :outcome",
                    [{"outcome": outcome} for outcome in get_args(Outcome)],
                )

    def begin(self, run_id: str, now: datetime) -> Run:
        """Return the run of this id, begun now or before, and ask under `refresh_lock`.

        One that failed is tried again. Runs that were killed are counted as failed once more.
        """
        with self._connected() as connection:
            killed = connection.execute(
                "UPDATE runs SET message = ? WHERE status = 'running' AND message = ''", (_KILLED,)
            ).rowcount
            if killed:
                connection.execute(
                    "UPDATE ends SET number = number + ? WHERE outcome = 'failed'", (killed,)
                )
            connection.execute(
                "INSERT INTO runs (run_id, status, started_at) VALUES (?, 'running', ?) "
                "ON CONFLICT DO UPDATE SET status = 'running', finished_at = NULL, message = '' "
                "WHERE status IN ('failed', 'running')",
                (run_id, now.isoformat()),
            )
        return self.get(run_id)

    def interrupt(self, run_id: str) -> None:
        """Write down that the run was stopped, and so has not failed: the next goes on with it."""
        with self._connected() as connection:
            connection.execute(
                "UPDATE runs SET message = ? WHERE run_id = ? AND status = 'running'",
                (_INTERRUPTED, run_id),
            )

    def finish(
        self, run_id: str, status: Status, now: datetime, version: str | None, message: str = ""
    ) -> None:
        """Write down how the run ended."""
        with self._connected() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, finished_at = ?, version = ?, message = ? "
                "WHERE run_id = ?",
                (status, now.isoformat(), version, message, run_id),
            )

    def get(self, run_id: str) -> Run:
        """Return the run of this id.

        Raises `KeyError` where none has begun.
        """
        row = self._row(f"SELECT {_COLUMNS} FROM runs WHERE run_id = ?", run_id)
        if row is None:
            raise KeyError(run_id)
        return _run(*row)

    def all(self) -> list[Run]:
        """Return every run, the newest first."""
        query = f"SELECT {_COLUMNS} FROM runs ORDER BY started_at DESC, rowid DESC"
        return [_run(*row) for row in self._rows(query)]

    def newest(self, status: Status | None = None) -> Run | None:
        """Return the run that began last, or the last of those with this status."""
        where, parameters = ("", []) if status is None else ("WHERE status = ?", [status])
        order = "ORDER BY started_at DESC, rowid DESC LIMIT 1"
        row = self._row(f"SELECT {_COLUMNS} FROM runs {where} {order}", *parameters)
        return None if row is None else _run(*row)

    def ends(self) -> dict[str, int]:
        """Return how often runs have ended, by outcome; each try of a run that failed is one."""
        return dict(self._rows("SELECT outcome, number FROM ends"))

    def begun(self) -> set[str]:
        """Return the ids of runs that began, and of which nobody has written down how they ended.

        While no refresh is at work, these were killed.
        """
        query = "SELECT run_id FROM runs WHERE status = 'running' AND message = ''"
        return {run_id for (run_id,) in self._rows(query)}

    def unfinished(self) -> Run | None:
        """Return the run to go on with, if there is one; ask under `refresh_lock`.

        It is the newest that began and did not end; or the newest of all, where a full disk, a log
        that was away or a worker that was gone failed it: it can end now. One that failed of
        anything else would fail again.
        """
        runs = self.all()
        if runs and runs[0].status == "failed" and _PASSES.search(runs[0].message):
            return runs[0]
        return next((run for run in runs if run.status == "running"), None)

    def begun_since(self, moment: datetime, now: datetime) -> bool:
        """Return whether any run has begun at `moment` or later, or was gone on with and ended.

        What was written down of later than `now` tells nothing: the clock was ahead.
        """
        times = [(run.started_at, run.finished_at) for run in self.all()]
        return any(each and moment <= each <= now for run in times for each in run)

    def notes(self, run_id: str) -> str | None:
        """Return the notes of the run, if there are any."""
        row = self._row("SELECT notes FROM run_notes WHERE run_id = ?", run_id)
        return None if row is None else str(row[0])

    def write_notes(self, run_id: str, notes: str) -> None:
        """Write down notes of the run, in place of those before."""
        with self._connected() as connection:
            connection.execute("INSERT OR REPLACE INTO run_notes VALUES (?, ?)", (run_id, notes))

    def add_step(self, run_id: str, step: str, seconds: float) -> None:
        """Write down how long a step of the run took."""
        with self._connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (run_id, step, seconds)
            )

    def step_seconds(self, run_id: str) -> dict[str, float]:
        """Return the seconds of each step that the run has gone through, in their order."""
        query = "SELECT step, seconds FROM steps WHERE run_id = ? ORDER BY rowid"
        return dict(self._rows(query, run_id))

    def add_promotion(self, version: str, now: datetime, reason: str) -> None:
        """Write down that `version` serves from now on."""
        with self._connected() as connection:
            connection.execute(
                "INSERT INTO promotions (at, version, reason) VALUES (?, ?, ?)",
                (now.isoformat(), version, reason),
            )

    def add_rollback(self, version: str, now: datetime, bad: str | None) -> None:
        """Write down that `version` serves from now on, in place of `bad`."""
        self.add_promotion(version, now, f"{_ROLLED_BACK}{bad}")

    def promoted(self) -> list[str]:
        """Return the versions that served, the newest promotion first."""
        rows = self._rows("SELECT version FROM promotions ORDER BY number DESC")
        return [version for (version,) in rows]

    def was_chosen_by_hand(self) -> bool:
        """Return whether the newest promotion is a rollback, or of a version that was named."""
        row = self._row("SELECT reason FROM promotions ORDER BY number DESC LIMIT 1")
        return row is not None and (row[0] == PROMOTED or row[0].startswith(_ROLLED_BACK))

    def rolled_back_from(self) -> set[str]:
        """Return the versions that were rolled back from, and not made to serve again since."""
        bad: set[str] = set()
        for version, reason in self._rows("SELECT version, reason FROM promotions ORDER BY number"):
            if reason.startswith(_ROLLED_BACK):
                bad.add(reason.removeprefix(_ROLLED_BACK))
            bad.discard(version)
        return bad

    def write_drift(self, version: str, values: Mapping[str, float], now: datetime) -> None:
        """Write down the signals of `trainer.refresh.drift`, in place of those before.

        version: of the bundle they are about.
        """
        rows = [(name, value, version, now.isoformat()) for name, value in values.items()]
        with self._connected() as connection:
            connection.execute("DELETE FROM drift")
            connection.executemany("INSERT INTO drift VALUES (?, ?, ?, ?)", rows)

    def drift(self) -> dict[str, float]:
        """Return the signals of drift by name; none where none was measured."""
        return dict(self._rows("SELECT signal, value FROM drift"))

    def _row(self, query: str, *parameters: str) -> tuple[Any, ...] | None:
        return next(iter(self._rows(query, *parameters)), None)

    def _rows(self, query: str, *parameters: str) -> list[tuple[Any, ...]]:
        with self._connected() as connection:
            return connection.execute(query, parameters).fetchall()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction, which is undone where the block raises."""
        with (
            opening(self._file, WITHOUT_IT),
            closing(sqlite3.connect(self._file, timeout=30)) as connection,
            connection,
        ):
            yield connection


_COLUMNS = "run_id, status, started_at, finished_at, version, message"


def _run(run_id: str, status: Status, started: str, finished: str | None, *others: Any) -> Run:
    ended = None if finished is None else _time(finished)
    return Run(run_id, status, _time(started), ended, *others)


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored).astimezone(UTC)
