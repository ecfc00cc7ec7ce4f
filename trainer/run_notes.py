"""What the steps of a run have written down, for it to go on with after a crash."""

from collections.abc import Iterator, MutableMapping
from pathlib import Path

from trainer.runs_file import RunsFile


class RunNotes(MutableMapping[str, str]):
    """A run's rows of the table of notes: JSON by name, on disk once it is set."""

    def __init__(self, bundles: Path, run_id: str) -> None:
        self._file = RunsFile(bundles)
        self._run_id = run_id

    def __getitem__(self, name: str) -> str:
        with self._file.connected() as connection:
            row = connection.execute(
                "SELECT value FROM notes WHERE run_id = ? AND name = ?", (self._run_id, name)
            ).fetchone()
        if row is None:
            raise KeyError(name)
        return str(row[0])

    def __setitem__(self, name: str, value: str) -> None:
        with self._file.connected() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (self._run_id, name, value)
            )

    def __delitem__(self, name: str) -> None:
        with self._file.connected() as connection:
            connection.execute(
                "DELETE FROM notes WHERE run_id = ? AND name = ?", (self._run_id, name)
            )

    def __iter__(self) -> Iterator[str]:
        with self._file.connected() as connection:
            rows = connection.execute(
                "SELECT name FROM notes WHERE run_id = ?", (self._run_id,)
            ).fetchall()
        return iter([name for (name,) in rows])

    def __len__(self) -> int:
        return len(list(iter(self)))
