"""How far the archive has come in the log.

<topic>-<partition>.json   topic, partition, and the offset up to which it is archived
"""

from collections.abc import Mapping
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from feature_repo.event_log import TopicPartition
from feature_repo.json_files import read_json
from feature_repo.whole_file import replacing

_POSITION = TypeAdapter(tuple[str, int, int])


class ArchivePositions:
    """Reads and writes the positions in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, positions: Mapping[TopicPartition, int]) -> None:
        """Remember that all records before these offsets of the log are in the archive."""
        for source, offset in positions.items():
            with replacing(self._folder / f"{source.topic}-{source.partition:05d}.json") as file:
                file.write_bytes(orjson.dumps([source.topic, source.partition, offset]))

    def read(self) -> dict[TopicPartition, int]:
        """Return the offset of each partition before which everything is in the archive.

        Raises `ShopFileError` where a file is damaged.
        """
        written = [read_json(file, _POSITION) for file in self._folder.glob("[!.]*.json")]
        return {TopicPartition(topic, partition): offset for topic, partition, offset in written}
