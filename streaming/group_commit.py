"""Group commit: callers that write at the same time share one transaction, and so one fsync."""

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from feature_repo.event_log import EventLogError


class Written(NamedTuple):
    """What a statement did: how many rows it changed, and the newest row that was inserted."""

    changed: int
    last_row: int


class _Write:
    """Rows that one caller wants written in one transaction."""

    def __init__(self, statement: str, rows: Sequence[Sequence[Any]], *, durable: bool) -> None:
        self.statement = statement
        self.rows = rows
        self.durable = durable
        self.done = False
        self.error: EventLogError | None = EventLogError("the write was interrupted.")
        self.written = Written(0, 0)


class GroupCommit:
    """The one writer of this process to a log's file. Safe for use by many threads.

    connection: used by nobody else. name: what errors call the log.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self._name = name
        self._condition = threading.Condition()
        self._pending: list[_Write] = []
        self._writing = False
        self._transactions = 0
        self._closed = False

    def write(self, statement: str, rows: Sequence[Sequence[Any]], *, durable: bool) -> Written:
        """Execute the statement for all rows or for none.

        durable: whether they are on disk on return. Raises `EventLogError`.
        """
        write = _Write(statement, rows, durable=durable)
        self._submit(write)
        return write.written

    @property
    def transactions(self) -> int:
        """How many transactions there were so far."""
        return self._transactions

    def wait(self, transactions: int, seconds: float) -> None:
        """Wait up to `seconds` until the number of transactions is not `transactions` any more.

        Raises `EventLogError` once it is closed.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: self._transactions != transactions or self._closed, seconds
            )
            if self._closed:
                raise self._is_closed()

    def close(self) -> None:
        """Close the connection. Writing and waiting raise `EventLogError` from then on."""
        with self._condition:
            self._closed = True
            self._condition.wait_for(lambda: not self._writing)
            self._condition.notify_all()
        self.connection.close()

    def _is_closed(self) -> EventLogError:
        return EventLogError(f"{self._name}: is closed.")

    def _submit(self, write: _Write) -> None:
        """Queue the write and wait for it; a caller that finds no writer writes the whole queue."""
        with self._condition:
            if self._closed:
                raise self._is_closed()
            self._pending.append(write)
            self._condition.wait_for(lambda: write.done or not self._writing)
            if not write.done:
                group, self._pending = self._pending, []
                self._writing = True
            else:
                group = []
        if group:
            try:
                self._write(group)
            finally:
                with self._condition:
                    for each in group:
                        each.done = True
                    self._writing = False
                    self._transactions += 1
                    self._condition.notify_all()
        if write.error is not None:
            raise write.error

    def _write(self, group: Sequence[_Write]) -> None:
        try:
            self._transaction(group)
            for write in group:
                write.error = None
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            if len(group) == 1:
                reason = EventLogError(f"{self._name}: nothing was written: {error}.")
                reason.__cause__ = error
                group[0].error = reason
                return
            # One caller's bad record must not fail the others: each on its own now.
            for write in group:
                self._write([write])

    def _transaction(self, group: Sequence[_Write]) -> None:
        # A lost commit of offsets is a replay, which is harmless: it waits for no fsync.
        level = "FULL" if any(write.durable for write in group) else "NORMAL"
        self.connection.execute(f"PRAGMA synchronous = {level}")
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for write in group:
                done = self.connection.executemany(write.statement, write.rows)
                newest = self.connection.execute("SELECT last_insert_rowid()")
                write.written = Written(done.rowcount, newest.fetchone()[0])
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
