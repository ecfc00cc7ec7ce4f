"""Online features in memory, for replays and tests."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from feature_repo.online_features import FeatureRecord, RecordT, key_of


class InMemoryOnlineFeatures:
    """Implements `OnlineFeatures`; what is pushed is gone with the process."""

    def __init__(self) -> None:
        self._records: dict[type[FeatureRecord], dict[str, Any]] = defaultdict(dict)
        self._lock = threading.Lock()

    def get(self, view: type[RecordT], keys: Sequence[str]) -> list[RecordT | None]:
        """Return the record of each key, in order, or None."""
        with self._lock:
            records = self._records[view]
            return [records.get(key) for key in keys]

    def push(self, records: Sequence[FeatureRecord]) -> None:
        """Store each record, replacing the key's older one."""
        with self._lock:
            for record in records:
                self._records[type(record)][key_of(record)] = record

    def delete(self, view: type[FeatureRecord], keys: Sequence[str]) -> None:
        """Forget the records of the keys."""
        with self._lock:
            for key in keys:
                self._records[view].pop(key, None)

    def close(self) -> None:
        """Nothing to release."""
