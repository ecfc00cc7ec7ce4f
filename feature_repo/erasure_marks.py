"""Marks of the users whom the log has erased: what it holds of them from before is not written.

<partition>.json    partition, and moments by user id
<partition>.times   times by user id: in a file of its own, since older versions read pairs alone
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from feature_repo.json_files import read_json
from feature_repo.whole_file import replacing

_Times = dict[str, int]
_TIMES = TypeAdapter(_Times)
# Some files of before have the times within, others none.
_MARKS = TypeAdapter(tuple[int, _Times] | tuple[int, _Times, _Times])


class ErasureMarks:
    """Reads and writes the marks in `folder`.

    What reads them raises `ShopFileError` where a file is damaged: nobody may pass for not erased.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, partition: int, moments: Mapping[str, int], times: Mapping[str, int]) -> None:
        """Replace the marks of a partition: by user id, when the log took the erasure.

        times: the same in milliseconds since 1970; it may leave users out.
        """
        marks = self._folder / f"{partition:05d}.json"
        # First: a mark without its time counts as of when it was written.
        with replacing(marks.with_suffix(".times")) as file:
            file.write_bytes(orjson.dumps(times))
        with replacing(marks) as file:
            file.write_bytes(orjson.dumps([partition, moments]))

    def moments(self) -> dict[int, dict[str, int]]:
        """Return the marks of each partition, as they were written."""
        return {partition: moments for partition, moments, _, _ in self._read()}

    def erased_at(self) -> dict[str, int]:
        """Return when users were erased, in milliseconds since 1970, of all whose mark is kept."""
        erased: dict[str, int] = {}
        for _, moments, times, written_at in self._read():
            for user_id, moment in moments.items():
                # An older version leaves the time of an earlier erasure. On a broker the moment is
                # a time too, and where it is an offset, less than any.
                at = max(times.get(user_id, written_at), moment)
                erased[user_id] = max(at, erased.get(user_id, at))
        return erased

    def _read(self) -> Iterator[tuple[int, dict[str, int], dict[str, int], int]]:
        """Yield what `write` was given, and when, in milliseconds since 1970."""
        for file in self._folder.glob("[!.]*.json"):
            partition, moments, *within = read_json(file, _MARKS)
            times = within[0] if within else _times(file.with_suffix(".times"))
            yield partition, moments, times, file.stat().st_mtime_ns // 10**6


def _times(file: Path) -> dict[str, int]:
    try:
        return read_json(file, _TIMES)
    except FileNotFoundError:
        return {}
