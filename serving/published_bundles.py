"""The folder of published bundles, and which of them serves.

bundles/<version>/       a whole bundle (`serving.bundle`)
bundles/CURRENT          the served version, replaced atomically
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.whole_file import flush, replacing
from serving.bundle import MANIFEST, VERSION, BundleError

CURRENT = "CURRENT"


def current_bundle(bundles: Path) -> Path | None:
    """Return the folder that `CURRENT` names, or None where nothing was published yet."""
    file = bundles / CURRENT
    try:
        version = file.read_text("ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(file, f"cannot be read: {error}") from error
    if not VERSION.fullmatch(version):
        raise BundleError(file, f"must name a bundle version. Received: {version[:64]!r}.")
    return bundles / version


def current_version(bundles: Path) -> str | None:
    """Return the version that `CURRENT` names, or None where nothing was published yet."""
    path = current_bundle(bundles)
    return path.name if path else None


def require_current(bundles: Path) -> Path:
    """Return the folder of the bundle that `CURRENT` names. Raises `BundleError` for none."""
    path = current_bundle(bundles)
    if path is None:
        raise BundleError(bundles / CURRENT, "is missing: no bundle has been published.")
    return path


def published_versions(bundles: Path) -> list[str]:
    """Return the versions in the folder, oldest first."""
    if not bundles.is_dir():
        return []
    return sorted(entry.name for entry in bundles.iterdir() if VERSION.fullmatch(entry.name))


def is_published(path: Path) -> bool:
    """Return whether a whole bundle lies at `path`; its files are for `verify` to check."""
    return VERSION.fullmatch(path.name) is not None and (path / MANIFEST).is_file()


def set_current(bundles: Path, version: str) -> None:
    """Serve `version` from now on. Raises `BundleError` where it is not published."""
    with making_current(bundles, version):
        pass


@contextmanager
def making_current(bundles: Path, version: str) -> Iterator[None]:
    """Serve `version` once the block ends; where it raises, what served before serves on.

    Raises `BundleError` where the version is not published, and `OSError` where the disk is full,
    both before the block.
    """
    if not is_published(bundles / version):
        raise BundleError(bundles / version, "is not published.")
    with replacing(bundles / CURRENT) as file:
        file.write_text(version + "\n", "ascii")
        flush(file)
        yield
