"""Writes many rows to SQLite with one statement.

`executemany` runs a statement per row, and each releases Python's global lock. In a process that
answers requests too, each has to wait for the lock again: under load that takes longer than all the
rest of a write.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import islice

ROWS_PER_STATEMENT = 500
WAL_PAGES = 2_000
"""For `PRAGMA wal_autocheckpoint`: a page that changes often is copied once for several changes."""
WAL_BYTES = 16 * 1024 * 1024
"""For `PRAGMA journal_size_limit`: without it the file stays as large as it once was. More than
`WAL_PAGES` pages, or it would be cut at every checkpoint."""


def execute_rows(
    connection: sqlite3.Connection, statement: str, rows: Iterable[Sequence[object]]
) -> None:
    """Run `statement`, in which `{rows}` stands for what follows VALUES, over all of `rows`.

    The rows are of one length. It runs once for every 500 of them, and not where there are none.
    """
    left = iter(rows)
    while some := list(islice(left, ROWS_PER_STATEMENT)):
        marks = ", ".join("?" * len(some[0]))
        values = ", ".join([f"({marks})"] * len(some))
        connection.execute(statement.format(rows=values), [value for row in some for value in row])
