"""Takes micro-batches from a log: larger ones the more there is to read."""

import time

from feature_repo.event_log import EventLogError, LogReader, LogRecord

GROWTH = 4
"""After a full batch the next may be so many times as large: they share what each costs."""

MOST = 8
"""How many full batches one may hold in the end."""

FEW = 20
"""After a batch of n times as many records the next lingers n times as long: one batch costs about
what a hundred records do."""

LONGEST = 10
"""How many times as long one may linger in the end."""


class BatchPoller:
    """Polls a reader until a batch is full or has waited long enough.

    batch_records: how many make a full batch. batch_bytes: a batch whose values have so many takes
    no more records. linger_seconds: how long one that is not full waits for more
    after one of few.
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

        Raises what the reader's poll raises, while nothing is in hand that would be lost.
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
