"""An import into an archive in memory, for tests of what becomes of files."""

import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from riverrun.importing.mapping import ImportMapping
from riverrun.importing.report import ImportReport, RejectsFile
from riverrun.importing.run import import_files
from riverrun.importing.sink import ArchiveSink
from tests.riverrun.memory_archive import MemoryArchive

NOW = datetime(2026, 3, 1, tzinfo=UTC)

HEAD = "user_id,item_id,event_type,timestamp"
GOOD = "u,i,view,2026-01-01T00:00:00Z"
"""A row of events, and one under it that nothing is wrong with."""


def run(
    kind: str,
    files: Sequence[Path],
    mapping: ImportMapping | str | None = None,
    archive: MemoryArchive | None = None,
) -> tuple[MemoryArchive, ImportReport]:
    """Import `files`, by a mapping or its TOML; every row must be counted once."""
    if isinstance(mapping, str):
        mapping = ImportMapping.model_validate(tomllib.loads(mapping))
    archive = MemoryArchive() if archive is None else archive
    with ImportReport(rejects=RejectsFile(files[0].with_suffix(".rejected"))) as report:
        import_files(kind, files, mapping, ArchiveSink(archive, report), NOW)  # type: ignore[arg-type]
    assert report.read == report.accepted + report.rejected.total() + report.skipped.total()
    return archive, report
