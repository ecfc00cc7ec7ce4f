"""What is known of a published version, and of the run that made it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trainer.refresh.bundle_versions import BundleVersion, bundle_versions, require_published
from trainer.refresh.notes import Notes
from trainer.refresh.runs_file import Run, RunsFile


@dataclass(frozen=True, slots=True)
class VersionReport:
    """A version, and how it was judged.

    run: the refresh that made it; None where none did, as of `riverrun train`, or where what
    refreshes did is lost. notes: what its steps have found out; empty where there is no run, or
    another version of this program has written them.
    """

    version: BundleVersion
    run: Run | None
    notes: Notes


def version_report(bundles: Path, version: str) -> VersionReport:
    """Return the report of a version. Raises `VersionError` where it is not published."""
    require_published(bundles, version)
    (published,) = (each for each in bundle_versions(bundles) if each.version == version)
    runs = RunsFile(bundles)
    run = next((run for run in runs.all() if run.version == version), None)
    stored = runs.notes(run.run_id) if run else None
    try:
        notes = Notes.from_json(stored) if stored else Notes()
    except ValidationError:
        notes = Notes()
    return VersionReport(published, run, notes)
