"""The table of refresh runs: one at a time, resumed by its id, kept for questions afterwards."""

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Literal

from feature_repo.exclusive_lock import LockHeldError, exclusive
from feature_repo.shop_file import opening

Status = Literal["running", "published", "refused", "failed"]

WITHOUT_IT = "Remove it: the bundles stay, but which served before and what refreshes did is lost."

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

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, status TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT,
    version TEXT, message TEXT NOT NULL DEFAULT ''
);
-- What a step has found out, as JSON: it need not find it out again after a crash.
CREATE TABLE IF NOT EXISTS notes (
    run_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
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
"""


class RefreshRunning(Exception):  # noqa: N818 — what is, not what went wrong
    """Another refresh of the same shop is at work."""


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
    """Implements the table in the SQLite file `runs.sqlite` of the folder of bundles.

    Raises `ShopFileError` where that is damaged, or cannot be written.
    """

    def __init__(self, bundles: Path) -> None:
        bundles.mkdir(parents=True, exist_ok=True)
        self._lock = bundles / "refresh.lock"
        self._file = bundles / "runs.sqlite"
        with self._connected() as connection:
            connection.executescript(_SCHEMA)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the one refresh at work; the system ends this with the process, however it ends.

        Raises `RefreshRunning` where another is.
        """
        try:
            with exclusive(self._lock):
                yield
        except LockHeldError as error:
            raise RefreshRunning(f"another refresh is at work: {error}") from None

    def begin(self, run_id: str, now: datetime) -> Run:
        """Return the run of this id, begun now or before; one that failed is tried again."""
        with self._connected() as connection:
            connection.execute(
                "INSERT INTO runs (run_id, status, started_at) VALUES (?, 'running', ?) "
                "ON CONFLICT DO UPDATE SET status = 'running', finished_at = NULL, message = '' "
                "WHERE status = 'failed'",
                (run_id, now.isoformat()),
            )
        return next(run for run in self.all() if run.run_id == run_id)

    def unfinished(self) -> Run | None:
        """Return the run to go on with, if there is one; ask under `exclusive`.

        It is the newest that began and did not end; or the newest of all, where a full disk failed
        it: with room it can end. One that failed of anything else would do so again.
        """
        runs = self.all()
        if runs and runs[0].status == "failed" and _NO_ROOM.search(runs[0].message):
            return runs[0]
        return next((run for run in runs if run.status == "running"), None)

    def begun_since(self, moment: datetime) -> bool:
        """Return whether any run has begun at `moment` or later, or was gone on with and ended."""
        return any((run.finished_at or run.started_at) >= moment for run in self.all())

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

    def all(self) -> list[Run]:
        """Return every run, the newest first."""
        query = (
            "SELECT run_id, status, started_at, finished_at, version, message FROM runs "
            "ORDER BY started_at DESC, rowid DESC"
        )
        with self._connected() as connection:
            rows = connection.execute(query).fetchall()
        return [
            Run(run_id, status, _time(started), finished and _time(finished), version, message)
            for run_id, status, started, finished, version, message in rows
        ]

    def notes(self, run_id: str) -> "RunNotes":
        """Return what the run's steps have written down."""
        return RunNotes(self, run_id)

    def promoted(self, version: str, now: datetime, reason: str) -> None:
        """Write down that `version` serves from now on."""
        with self._connected() as connection:
            connection.execute(
                "INSERT INTO promotions (at, version, reason) VALUES (?, ?, ?)",
                (now.isoformat(), version, reason),
            )

    def promotions(self) -> list[str]:
        """Return the versions that served, the newest promotion first."""
        with self._connected() as connection:
            rows = connection.execute("SELECT version FROM promotions ORDER BY number DESC")
            return [version for (version,) in rows]

    def stepped(self, run_id: str, step: str, seconds: float) -> None:
        """Write down how long a step of the run took."""
        with self._connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO steps VALUES (?, ?, ?)", (run_id, step, seconds)
            )

    def steps(self, run_id: str) -> dict[str, float]:
        """Return the seconds of each step that the run has gone through, in their order."""
        with self._connected() as connection:
            return dict(
                connection.execute(
                    "SELECT step, seconds FROM steps WHERE run_id = ? ORDER BY rowid", (run_id,)
                ).fetchall()
            )

    def write_drift(self, version: str, values: Mapping[str, float], now: datetime) -> None:
        """Write down signals of drift in place of those before."""
        rows = [(name, value, version, now.isoformat()) for name, value in values.items()]
        with self._connected() as connection:
            connection.execute("DELETE FROM drift")
            connection.executemany("INSERT INTO drift VALUES (?, ?, ?, ?)", rows)

    def drift(self) -> tuple[str | None, dict[str, float]]:
        """Return the signals that were measured last, and of which version."""
        with self._connected() as connection:
            rows = connection.execute("SELECT signal, value, version FROM drift").fetchall()
        return (rows[0][2] if rows else None), {signal: value for signal, value, _ in rows}

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with (
            opening(self._file, WITHOUT_IT),
            closing(sqlite3.connect(self._file, timeout=30)) as connection,
            connection,
        ):
            yield connection


class RunNotes(MutableMapping[str, Any]):
    """JSON values by name, on disk once they are set."""

    def __init__(self, runs: RefreshRuns, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id

    def __getitem__(self, name: str) -> Any:
        with self._runs._connected() as connection:
            row = connection.execute(
                "SELECT value FROM notes WHERE run_id = ? AND name = ?", (self._run_id, name)
            ).fetchone()
        if row is None:
            raise KeyError(name)
        return json.loads(row[0])

    def __setitem__(self, name: str, value: Any) -> None:
        with self._runs._connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)",
                (self._run_id, name, json.dumps(value)),
            )

    def __delitem__(self, name: str) -> None:
        with self._runs._connected() as connection:
            connection.execute(
                "DELETE FROM notes WHERE run_id = ? AND name = ?", (self._run_id, name)
            )

    def __iter__(self) -> Iterator[str]:
        with self._runs._connected() as connection:
            rows = connection.execute(
                "SELECT name FROM notes WHERE run_id = ?", (self._run_id,)
            ).fetchall()
        return iter([name for (name,) in rows])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored).astimezone(UTC)
