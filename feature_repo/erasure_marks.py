"""Marks of the users whom the log has erased: what it holds of them from before is not written.

<partition>.json   partition, moments by user id, and times by user id
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from feature_repo.whole_file import replacing


class ErasureMarks:
    """Reads and writes the marks in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, partition: int, moments: Mapping[str, int], times: Mapping[str, int]) -> None:
        """Replace the marks of a partition: by user id, when the log took the erasure.

        times: the same in milliseconds since 1970; it may leave users out.
        """
        with replacing(self._folder / f"{partition:05d}.json") as file:
            file.write_bytes(orjson.dumps([partition, moments, times]))

    def moments(self) -> dict[int, dict[str, int]]:
        """Return the marks of each partition, as they were written."""
        return {partition: moments for partition, moments, _, _ in self._read()}

    def erased_at(self) -> dict[str, int]:
        """Return when users were erased, in milliseconds since 1970, of all whose mark is kept."""
        erased: dict[str, int] = {}
        for _, moments, times, written_at in self._read():
            for user_id in moments:
                at = times.get(user_id, written_at)
                erased[user_id] = max(at, erased.get(user_id, at))
        return erased

    def _read(self) -> Iterator[tuple[int, dict[str, int], dict[str, int], int]]:
        """Yield what `write` was given, and when, in milliseconds since 1970."""
        for file in self._folder.glob("[!.]*.json"):
            # Files of before had no times.
            partition, moments, *times = orjson.loads(file.read_bytes())
            yield partition, moments, times[0] if times else {}, file.stat().st_mtime_ns // 10**6
