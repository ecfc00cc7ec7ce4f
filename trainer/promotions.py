"""Which bundles served, in which order."""

from datetime import datetime
from pathlib import Path

from trainer.runs_file import RunsFile


class Promotions:
    """The table of what was made to serve, by whom or what."""

    def __init__(self, bundles: Path) -> None:
        self._file = RunsFile(bundles)

    def add(self, version: str, now: datetime, reason: str) -> None:
        """Write down that `version` serves from now on."""
        with self._file.connected() as connection:
            connection.execute(
                "INSERT INTO promotions (at, version, reason) VALUES (?, ?, ?)",
                (now.isoformat(), version, reason),
            )

    def versions(self) -> list[str]:
        """Return the versions that served, the newest promotion first."""
        with self._file.connected() as connection:
            rows = connection.execute("SELECT version FROM promotions ORDER BY number DESC")
            return [version for (version,) in rows]
