"""Online features in a dictionary, for tests of what reads them."""

from collections.abc import Sequence
from typing import Any

from feature_repo.online_features import FeatureRecord


class DictOnlineFeatures:
    """Fulfils `OnlineFeatures`; counts its reads."""

    def __init__(self, records: Sequence[FeatureRecord] = ()) -> None:
        self._records: dict[tuple[type[Any], str], Any] = {}
        self.reads = 0
        self.push(records)

    def get(self, view: type[Any], keys: Sequence[str]) -> list[Any]:
        self.reads += 1
        return [self._records.get((view, key)) for key in keys]

    def push(self, records: Sequence[FeatureRecord]) -> None:
        for record in records:
            key = getattr(record, "user_id", None) or getattr(record, "item_id", "")
            self._records[type(record), key] = record

    def delete(self, view: type[FeatureRecord], keys: Sequence[str]) -> None:
        for key in keys:
            self._records.pop((view, key), None)

    def close(self) -> None:
        pass
