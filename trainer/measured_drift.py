"""Drift as it was measured last, for whoever serves to export."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from trainer.runs_file import RunsFile


class MeasuredDrift:
    """The table of the signals of drift (`trainer.drift`), of one measurement."""

    def __init__(self, bundles: Path) -> None:
        self._file = RunsFile(bundles)

    def write(self, version: str, values: Mapping[str, float], now: datetime) -> None:
        """Write down signals in place of those before. version: of the bundle they are about."""
        rows = [(name, value, version, now.isoformat()) for name, value in values.items()]
        with self._file.connected() as connection:
            connection.execute("DELETE FROM drift")
            connection.executemany("INSERT INTO drift VALUES (?, ?, ?, ?)", rows)

    def values(self) -> dict[str, float]:
        """Return the signals by name; none where none was measured."""
        with self._file.connected() as connection:
            return dict(connection.execute("SELECT signal, value FROM drift").fetchall())
