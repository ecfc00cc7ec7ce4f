"""Loads a bundle's SavedModel and checks that it is what serving will call."""

from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the tokeniser's ops
from scann.scann_ops.py import scann_ops  # noqa: F401 - registers the index's ops

from serving.bundle import BundleError, Manifest
from serving.signatures import ENCODE_TEXT, OPTIONAL_SIGNATURES, RANK, RECOMMEND, SIGNATURES


def optimise_little() -> None:
    """Let TensorFlow run the graphs of this process as they are. For processes that only serve.

    Grappler rewrites a graph before its first call. That takes as long as loading the graph, and
    makes no call of a bundle's graphs faster.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def load_saved_model(folder: Path, manifest: Manifest) -> Any:
    """Return the model in `folder`; raise `BundleError` where a signature is not the contract's."""
    file = folder / "saved_model.pb"
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises whatever it met, protobuf's errors included.
        raise BundleError(file, f"cannot be loaded: {type(error).__name__}: {error}") from error
    has_ranker = manifest.ranking is not None and bool(manifest.ranking.features)
    for name, signature in {**SIGNATURES, **(OPTIONAL_SIGNATURES if has_ranker else {})}.items():
        function = model.signatures.get(name)
        if function is None:
            raise BundleError(file, f"has no signature `{name}`.")
        inputs = frozenset(function.structured_input_signature[1])
        outputs = frozenset(function.structured_outputs)
        if inputs != signature.inputs or outputs != signature.outputs:
            raise BundleError(
                file,
                f"signature `{name}` must be {sorted(signature.inputs)} -> "
                f"{sorted(signature.outputs)}. Received: {sorted(inputs)} -> {sorted(outputs)}.",
            )
    for name in SIGNATURES.keys() - {RECOMMEND}:
        width = manifest.text_dimension if name == ENCODE_TEXT else manifest.dimension
        received = model.signatures[name].structured_outputs["embeddings"].shape[-1]
        if received not in (None, width):
            raise BundleError(file, f"`{name}` must return {width} columns. Received: {received}.")
    if manifest.ranking is not None and manifest.ranking.features:
        columns = len(manifest.ranking.features)
        received = model.signatures[RANK].structured_input_signature[1]["features"].shape[-1]
        if received != columns:
            raise BundleError(file, f"`{RANK}` must read {columns} columns. Received: {received}.")
    return model
