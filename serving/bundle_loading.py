"""From a bundle's folder to a bundle in memory, with its SavedModel: this takes TensorFlow."""

from pathlib import Path

import numpy as np

from serving.bundle import (
    CANDIDATE_COUNTS,
    CANDIDATE_EMBEDDINGS,
    CANDIDATE_IDS,
    MODEL,
    Bundle,
    BundleError,
    read_array,
    read_ids,
    verify,
)
from serving.saved_model import load_saved_model


def load_bundle(path: Path) -> Bundle:
    """Return the bundle in folder `path`, or raise `BundleError` naming file and reason."""
    manifest = verify(path)
    candidate_ids = read_ids(path / CANDIDATE_IDS)
    embeddings = read_array(path / CANDIDATE_EMBEDDINGS, np.dtype(np.float32))
    counts = read_array(path / CANDIDATE_COUNTS, np.dtype(np.int64))
    if len(candidate_ids) != manifest.num_items:
        raise BundleError(
            path / CANDIDATE_IDS,
            f"must hold num_items = {manifest.num_items} ids. Received: {len(candidate_ids)}.",
        )
    if embeddings.shape != (manifest.num_items, manifest.dimension):
        raise BundleError(
            path / CANDIDATE_EMBEDDINGS,
            f"must have shape [{manifest.num_items}, {manifest.dimension}]. "
            f"Received: {list(embeddings.shape)}.",
        )
    if counts.shape != (manifest.num_items,):
        raise BundleError(
            path / CANDIDATE_COUNTS,
            f"must have shape [{manifest.num_items}]. Received: {list(counts.shape)}.",
        )
    model = load_saved_model(path / MODEL, manifest)
    return Bundle(path, manifest, candidate_ids, embeddings, counts, model)
