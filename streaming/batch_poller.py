"""Reads micro-batches from a log: larger ones the more there is to read."""

import time

from feature_repo.event_log import EventLogError, LogReader, LogRecord

GROWTH = 4
"""After a full batch the next may be so many times as large: that saves the fixed cost of each."""

MOST = 8
"""A batch grows to at most so many times `batch_records`."""

FEW = 20
"""After a batch of n times so many records the next lingers n times as long: the fixed cost of a
batch is about that of a hundred records."""

LONGEST = 10
"""A batch lingers at most so many times `linger_seconds`."""


class BatchPoller:
    """Polls a reader until a batch is full or has waited long enough.

    batch_records: how many records make a full batch. batch_bytes: a batch whose values have so
    many bytes takes no more records. linger_seconds: how long a batch that is not full waits for
    more records, where the batch before it had few.
    """

    def __init__(
        self, reader: LogReader, batch_records: int, batch_bytes: int, linger_seconds: float
    ) -> None:
        self._reader = reader
        self._batch_records = batch_records
        self._limit = batch_records * MOST
        self._batch_bytes = batch_bytes
        self._linger_seconds = linger_seconds
        self._most = batch_records
        self._linger = linger_seconds

    def poll(self, patience: float) -> list[LogRecord]:
        """Return the next batch; wait up to `patience` seconds for its first record.

        Raises what the reader's poll raises, but never once it holds records: none are lost.
        """
        most = self._most
        records = self._reader.poll(most, patience)
        size = sum(record.size for record in records)
        deadline = time.monotonic() + self._linger
        while (
            records
            and len(records) < self._batch_records
            and size < self._batch_bytes
            and (left := deadline - time.monotonic()) > 0
        ):
            try:
                more = self._reader.more(most - len(records), left)
            except EventLogError:
                break  # The next poll says it again.
            records += more
            size += sum(record.size for record in more)
        is_full = len(records) >= self._batch_records
        self._most = min(len(records) * GROWTH, self._limit) if is_full else self._batch_records
        self._linger = self._linger_seconds * min(max(len(records) / FEW, 1), LONGEST)
        return records
