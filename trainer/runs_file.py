"""The file that keeps what refreshes did: who serves reads it while a refresh writes it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from feature_repo.shop_file import opening

WITHOUT_IT = "Remove it: the bundles stay, but which served before and what refreshes did is lost."

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


class RunsFile:
    """The SQLite file `runs.sqlite` of the folder of bundles; its tables have a class each.

    It and they raise `ShopFileError` where it is damaged, or cannot be written.
    """

    def __init__(self, bundles: Path) -> None:
        bundles.mkdir(parents=True, exist_ok=True)
        self._file = bundles / "runs.sqlite"
        with self.connected() as connection:
            connection.executescript(_SCHEMA)

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction, which is undone where the block raises."""
        with (
            opening(self._file, WITHOUT_IT),
            closing(sqlite3.connect(self._file, timeout=30)) as connection,
            connection,
        ):
            yield connection
