"""Which bundles there are, which one serves, and going from one to another."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import structlog

from serving.bundle import BundleError, Manifest, made_at, new_version, read_manifest, verify
from serving.published_bundles import (
    current_bundle,
    current_version,
    making_current,
    published_versions,
)
from trainer.refresh.runs_file import PROMOTED, Run, RunsFile

Status = Literal["serving", "served", "refused", "unserved", "broken"]


@dataclass(frozen=True, slots=True)
class BundleVersion:
    """A published bundle. manifest: None where it cannot be read. note: why it does not serve."""

    version: str
    status: Status
    manifest: Manifest | None
    note: str = ""


class VersionError(ValueError):
    """A version that cannot be promoted or deleted. The message names it and says why."""


def bundle_versions(bundles: Path) -> list[BundleVersion]:
    """Return what is published, the newest first."""
    runs = RunsFile(bundles)
    by_version = {run.version: run for run in runs.all()}
    served = set(runs.promoted())
    serving = current_version(bundles)
    return [
        _version(bundles / version, serving, served, by_version.get(version))
        for version in reversed(published_versions(bundles))
    ]


def readable_current(bundles: Path) -> Path | None:
    """Return the bundle that `CURRENT` names; None where it names none, or cannot be read.

    The latter is logged: the next training writes the file anew.
    """
    try:
        return current_bundle(bundles)
    except BundleError as error:
        structlog.get_logger(__name__).warning("current_bundle_not_known", reason=str(error))
        return None


def next_version(bundles: Path, now: datetime) -> str:
    """Return a version for a bundle that is made now, newer than all that are published.

    Versions are named by time, and rolling back and pruning go by the order of their names. So
    where the clock went back, the version is of a second after the newest one.
    """
    newest = max(map(made_at, published_versions(bundles)), default=None)
    if newest is None or newest < now.replace(microsecond=0):
        return new_version(now)
    return new_version(newest + timedelta(seconds=1))


def require_published(bundles: Path, version: str) -> None:
    """Raise `VersionError` where no such version lies in the folder."""
    if version not in published_versions(bundles):
        raise VersionError(f"{version!r} is not published in {bundles}.")


def promote(bundles: Path, version: str, now: datetime, reason: str = PROMOTED) -> None:
    """Serve `version` from now on, having checked every file of it.

    Raises `VersionError` where it is not published or must not be served.
    """
    with _serving(bundles, version):
        RunsFile(bundles).add_promotion(version, now, reason)


@contextmanager
def _serving(bundles: Path, version: str) -> Iterator[None]:
    """Serve `version` once the block has written that down.

    On a full disk neither is done: a rollback that served, but was not written down, would go one
    version further back where it is repeated.
    """
    require_published(bundles, version)
    try:
        verify(bundles / version)
        with making_current(bundles, version):
            yield
    except BundleError as error:
        raise VersionError(str(error)) from error


def rollback(bundles: Path, now: datetime) -> str:
    """Serve again what served before, and return its version.

    Never a version that was rolled back from, which was bad, unless it was promoted since.

    Raises `VersionError` where no such version is published.
    """
    serving = current_version(bundles)
    before = served_before(bundles, serving)
    if before is None:
        if serving is None:
            raise VersionError(f"no bundle in {bundles} has served.")
        raise VersionError(
            f"no bundle in {bundles} served before {serving} and was not rolled back from."
        )
    with _serving(bundles, before):
        RunsFile(bundles).add_rollback(before, now, serving)
    return before


def delete(bundles: Path, version: str) -> None:
    """Remove a bundle that does not serve. Raises `VersionError`."""
    require_published(bundles, version)
    if current_version(bundles) == version:
        raise VersionError(f"{version} serves: promote another one before.")
    # Renamed first: half a bundle must never look like one.
    doomed = bundles / f".deleted-{version}"
    (bundles / version).rename(doomed)
    shutil.rmtree(doomed)


def prune(bundles: Path, keep: int) -> list[str]:
    """Delete all but the newest `keep` bundles, and return their versions.

    The one that serves and the one to roll back to stay in any case; where `CURRENT` is damaged,
    all do.
    """
    try:
        serving = current_version(bundles)
    except BundleError:
        return []
    stay = {serving, served_before(bundles, serving), *published_versions(bundles)[-keep:]}
    gone = [version for version in published_versions(bundles) if version not in stay]
    for version in gone:
        delete(bundles, version)
    return gone


def served_before(bundles: Path, serving: str | None) -> str | None:
    """Return what to roll back to: of what is older than `serving` and has served, the newest.

    What was rolled back from is left out.
    """
    if serving is None:
        return None
    published = published_versions(bundles)
    manifests = [_manifest(bundles / version) for version in published]
    runs = RunsFile(bundles)
    # A parent served when its child was trained, whoever made it serve.
    served = {*runs.promoted(), *(each.parent for each in manifests if each)}
    served -= runs.rolled_back_from()
    # Names are times: they sort by age.
    return max((each for each in published if each in served and each < serving), default=None)


def _version(
    path: Path, serving: str | None, served: Collection[str], run: Run | None
) -> BundleVersion:
    manifest = _manifest(path)
    if manifest is None:
        return BundleVersion(path.name, "broken", None, "its manifest cannot be read")
    if path.name == serving:
        return BundleVersion(path.name, "serving", manifest)
    if path.name in served:
        return BundleVersion(path.name, "served", manifest)
    if run is not None and run.status == "refused":
        return BundleVersion(path.name, "refused", manifest, run.message)
    return BundleVersion(path.name, "unserved", manifest)


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except BundleError:
        return None
