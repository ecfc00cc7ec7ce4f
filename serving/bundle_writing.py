"""Writing a bundle: built under a name that starts with a dot, flushed and renamed."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from feature_repo.schema import Item
from feature_repo.whole_file import flush
from serving.bundle import (
    CANDIDATE_COUNTS,
    CANDIDATE_EMBEDDINGS,
    CANDIDATE_IDS,
    ITEMS,
    MANIFEST,
    Manifest,
    file_entry,
    plain_files,
)


@contextmanager
def building(bundles: Path, version: str) -> Iterator[Path]:
    """Give a folder to build a bundle in; it is removed where the block does not `publish` it."""
    folder = bundles / f".building-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "candidates").mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_candidates(
    folder: Path,
    candidate_ids: Sequence[str],
    embeddings: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write ids, float32 [n, dimension] embeddings and int64 [n] counts, in one row order."""
    (folder / CANDIDATE_IDS).write_bytes(orjson.dumps(list(candidate_ids)))
    np.save(folder / CANDIDATE_EMBEDDINGS, embeddings.astype(np.float32), allow_pickle=False)
    np.save(folder / CANDIDATE_COUNTS, counts.astype(np.int64), allow_pickle=False)


def write_items(folder: Path, items: Sequence[Item]) -> None:
    """Write the catalogue snapshot."""
    pl.DataFrame(
        {
            "item_id": [item.item_id for item in items],
            "item": [item.model_dump_json() for item in items],
        },
        schema={"item_id": pl.String, "item": pl.String},
    ).write_parquet(folder / ITEMS)


def publish(bundles: Path, folder: Path, manifest: Manifest) -> Path:
    """Hash, flush and rename `folder` to its version, and return where it now lies.

    `manifest.files` is filled in here. `CURRENT` is not touched: see `set_current`.
    """
    files = {str(file.relative_to(folder)): file_entry(file) for file in plain_files(folder)}
    document = manifest.model_copy(update={"files": files}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(document + "\n", "utf-8")
    for entry in folder.rglob("*"):
        flush(entry)
    flush(folder)
    published = bundles / manifest.version
    folder.rename(published)
    flush(bundles)
    return published
