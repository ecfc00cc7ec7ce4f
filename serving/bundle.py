"""A bundle: one immutable, checksummed folder with a model and the catalogue it was made for.

    bundles/<version>/manifest.json          what the bundle is, and the SHA-256 of every file
    bundles/<version>/model/                 TensorFlow SavedModel
    bundles/<version>/candidates/ids.json    item ids in row order
    bundles/<version>/candidates/embeddings.npy   float32 [num_items, dimension]
    bundles/<version>/candidates/counts.npy       int64 [num_items], events in training
    bundles/<version>/items.parquet          columns item_id, item (JSON of `schema.Item`)
    bundles/<version>/ranking/               what candidates are ranked by (`ranking.bundle_files`)
    bundles/<version>/weights/               what a training goes on from; no server reads it

A reader sees a whole bundle or none: it is built under a name that starts with a dot,
flushed and renamed. Reading one runs no code stored in it: ids are JSON, vectors `.npy`
without pickles.
"""

import hashlib
import operator
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from feature_repo.first_error import FirstError
from feature_repo.schema import Item

FORMAT = 2
MANIFEST = "manifest.json"
MODEL = "model"
CANDIDATE_IDS = "candidates/ids.json"
CANDIDATE_EMBEDDINGS = "candidates/embeddings.npy"
CANDIDATE_COUNTS = "candidates/counts.npy"
ITEMS = "items.parquet"
TEXT_TOWER_DIGEST = "text_tower_digest"
"""Key of `Manifest.model`: equal digests mean equal text embeddings, across retrained bundles."""

VERSION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}")


def new_version(created_at: datetime, token: str | None = None) -> str:
    """Return a version name; `token`, four hex digits, keeps two of one second apart."""
    return f"{created_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{token or secrets.token_hex(2)}"


def made_at(version: str) -> datetime:
    """Return the moment that a version is named after."""
    return datetime.strptime(version[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


class BundleError(ValueError):
    """A bundle that must not be served. The message names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"bundle file {path}: {reason}")
        self.path = path
        self.reason = reason


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataWindow(_Part):
    """The events that the model learned from."""

    start: AwareDatetime | None
    end: AwareDatetime | None
    events: Annotated[int, Field(ge=0)]


class FileEntry(_Part):
    """What a file of the bundle must be."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class RankingPart(_Part):
    """What candidates are ranked by. Empty `sources` and `features`: no ranker was trained.

    tables: of neighbours, with the days over which a history's item fades by e. events: of those in
    which it also fades with every newer event of its user, over how many by e. signals: the columns
    of `ranking/signals.npy`. taking: the types of event that take an item, of which signals of
    repetition are; empty means all. weightless: those that say nothing for an item. sources: whose
    scores the ranker reads. features: its columns. objectives: types of event, and what each is
    worth to it; left out where it knows one alone.
    """

    tables: dict[Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")], Annotated[float, Field(gt=0)]]
    # Left out where it says nothing, so that releases that do not know it read the bundle.
    events: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], Field(exclude_if=operator.not_)
    ] = {}
    signals: tuple[str, ...]
    taking: Annotated[tuple[str, ...], Field(exclude_if=operator.not_)] = ()
    weightless: Annotated[tuple[str, ...], Field(exclude_if=operator.not_)] = ()
    sources: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    objectives: Annotated[
        dict[str, Annotated[float, Field(gt=0)]], Field(exclude_if=operator.not_)
    ] = {}


class Manifest(_Part):
    """What a bundle says of itself."""

    format: int = FORMAT
    version: Annotated[str, Field(pattern=f"^{VERSION.pattern}$")]
    created_at: AwareDatetime
    parent: str | None = None
    dimension: Annotated[int, Field(ge=1, le=4096)]
    text_dimension: Annotated[int, Field(ge=1, le=8192)] = 384
    max_history: Annotated[int, Field(ge=1, le=4096)]
    event_types: tuple[str, ...]
    top_k: Annotated[int, Field(ge=1, le=10_000)] = 100
    # Whether the last coordinate of a candidate is its popularity, and that of a query is 1.
    popularity_coordinate: bool = False
    num_items: Annotated[int, Field(ge=0)]
    data_window: DataWindow
    metrics: dict[str, float] = {}
    model: dict[str, JsonValue] = {}
    ranking: RankingPart | None = None
    files: dict[str, FileEntry] = {}

    @property
    def text_model(self) -> str:
        """A hash of the text tower: equal ones encode a text to equal embeddings."""
        if known := self.model.get(TEXT_TOWER_DIGEST):
            return str(known)
        digest = hashlib.sha256()  # of all of the model's files
        for name, entry in sorted(self.files.items()):
            if name.startswith(f"{MODEL}/"):
                digest.update(f"{name}\0{entry.sha256}\0".encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A verified bundle in memory, as `bundle_loading.load_bundle` returns it.

    candidate_embeddings: float32 [num_items, dimension], row i belongs to candidate_ids[i].
    candidate_counts: int64 [num_items], how many events training saw of each.
    model: the loaded SavedModel; `signatures` maps each of `signatures.SIGNATURES` to its function.
    """

    path: Path
    manifest: Manifest
    candidate_ids: list[str]
    candidate_embeddings: npt.NDArray[np.float32]
    candidate_counts: npt.NDArray[np.int64]
    model: Any = field(repr=False)

    @property
    def version(self) -> str:
        """The name of the bundle and of its vector space."""
        return self.manifest.version

    @property
    def signatures(self) -> Mapping[str, Any]:
        """The SavedModel's functions by signature name, called with keyword tensors.

        Those of `signatures.SIGNATURES` are all there.
        """
        signatures: Mapping[str, Any] = self.model.signatures
        return signatures

    def items(self) -> Iterator[Item]:
        """Yield the catalogue as it was when the bundle was built."""
        return read_items(self.path)


def verify(path: Path) -> Manifest:
    """Return the manifest of `path` after checking its format and the hash of every file."""
    manifest = read_manifest(path)
    if manifest.version != path.name:
        raise BundleError(
            path / MANIFEST,
            f"`version` must be the folder's name {path.name!r}. Received: {manifest.version!r}.",
        )
    found = {str(file.relative_to(path)) for file in plain_files(path)} - {MANIFEST}
    required = (CANDIDATE_IDS, CANDIDATE_EMBEDDINGS, CANDIDATE_COUNTS, ITEMS)
    for name in (*required, f"{MODEL}/saved_model.pb"):
        if name not in manifest.files:
            raise BundleError(path / MANIFEST, f"lists no file {name!r}.")
    for name in sorted(found ^ manifest.files.keys()):
        raise BundleError(
            path / name, "is not in the manifest." if name in found else "is missing."
        )
    for name, expected in sorted(manifest.files.items()):
        received = file_entry(path / name)
        if received != expected:
            raise BundleError(
                path / name,
                f"must have {expected.bytes} bytes and SHA-256 {expected.sha256}. "
                f"Received: {received.bytes} bytes, {received.sha256}.",
            )
    return manifest


def file_entry(file: Path) -> FileEntry:
    """Return size and SHA-256 of a file."""
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return FileEntry(sha256=digest, bytes=stream.tell())
    except OSError as error:
        raise BundleError(file, f"cannot be read: {error}") from error


def read_manifest(path: Path) -> Manifest:
    """Return what the bundle at `path` says of itself, its files unchecked."""
    file = path / MANIFEST
    try:
        document = orjson.loads(file.read_bytes())
    except OSError as error:
        raise BundleError(file, f"cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BundleError(file, f"is not JSON: {error}.") from error
    format_number = document.get("format") if isinstance(document, dict) else None
    if format_number != FORMAT:
        raise BundleError(file, f"`format` must be {FORMAT}. Received: {format_number!r}.")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise invalid(file, error) from None


def invalid(file: Path, error: ValidationError) -> BundleError:
    """Return the error that names the first key of a file that is not as it must be."""
    first = FirstError.of(error)
    return BundleError(file, f"`{first.key}`: {first.statement}")


def read_items(path: Path) -> Iterator[Item]:
    """Yield the catalogue of the bundle at `path`, or raise `BundleError`."""
    file = path / ITEMS
    try:
        for row in pl.read_parquet(file, columns=["item"])["item"]:
            yield Item.model_validate_json(row)
    except (OSError, pl.exceptions.PolarsError, ValidationError) as error:
        raise BundleError(file, f"is no table of items: {error}") from error


def read_ids(file: Path) -> list[str]:
    """Return the ids that `write_candidates` wrote, or raise `BundleError`."""
    try:
        ids = orjson.loads(file.read_bytes())
    except ValueError as error:
        raise BundleError(file, f"is not JSON: {error}.") from error
    if not isinstance(ids, list) or not all(isinstance(item_id, str) for item_id in ids):
        raise BundleError(file, "must be a list of strings.")
    if len(set(ids)) != len(ids):
        raise BundleError(file, "holds an id twice.")
    return ids


def read_array(file: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return the finite array in an `.npy` file, or raise `BundleError`."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(file, f"is no array: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise BundleError(file, f"must be one {dtype} array.")
    if not np.isfinite(array).all():
        raise BundleError(file, "holds a value that is not finite.")
    return array


def plain_files(folder: Path) -> Iterator[Path]:
    """Yield the files in `folder` in order; raise `BundleError` for a link or a device."""
    for entry in sorted(folder.rglob("*")):
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise BundleError(entry, "must be a plain file.")
        if entry.is_file():
            yield entry
