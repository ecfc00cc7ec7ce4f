"""Which bundles served, in which order."""

from datetime import datetime
from pathlib import Path

from trainer.runs_file import RunsFile

_ROLLED_BACK = "rolled back from "


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

    def add_rollback(self, version: str, now: datetime, bad: str | None) -> None:
        """Write down that `version` serves from now on, in place of `bad`."""
        self.add(version, now, f"{_ROLLED_BACK}{bad}")

    def rolled_back_from(self) -> set[str]:
        """Return the versions that were rolled back from, and not made to serve again since."""
        bad: set[str] = set()
        with self._file.connected() as connection:
            rows = connection.execute("SELECT version, reason FROM promotions ORDER BY number")
            for version, reason in rows:
                if reason.startswith(_ROLLED_BACK):
                    bad.add(reason.removeprefix(_ROLLED_BACK))
                bad.discard(version)
        return bad

    def versions(self) -> list[str]:
        """Return the versions that served, the newest promotion first."""
        with self._file.connected() as connection:
            rows = connection.execute("SELECT version FROM promotions ORDER BY number DESC")
            return [version for (version,) in rows]
