"""Exports a published bundle's SavedModel in the layout that a stock TensorFlow Serving loads.

    FOLDER/<model name>/<version>/saved_model.pb, variables/, assets.extra/

`assets.extra/rank_features.json` names the columns that the signature `rank` reads, for which the
metadata of a SavedModel has no place.

https://www.tensorflow.org/tfx/serving/serving_basic
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from serving.bundle import MODEL, BundleError, Manifest, verify
from serving.prediction.predictor import version_number
from serving.saved_model import load_saved_model
from serving.signatures import ENCODE_QUERY, RECOMMEND
from trainer.serving_module import PARTS, best_of_all, trace
from trainer.warmup import write_warmup

RANK_FEATURES = Path("assets.extra") / "rank_features.json"

CUSTOM_OPS = "Scann>"
"""The prefix of the ops that TensorFlow Serving's own binary lacks.

It has those of TensorFlow Text: `SUPPORTED_TENSORFLOW_OPS` in its model_servers/BUILD.
"""


def export_model(bundle: Path, folder: Path, model_name: str, *, custom_ops: bool = True) -> Path:
    """Write the model of the bundle at `bundle` to `folder`, and return the model's folder.

    The model's folder appears complete or not at all, so that a TensorFlow Serving that watches
    `folder` never reads half of it.

    custom_ops: whether `serving_default` may search by ScaNN's ops; otherwise it scores every
        candidate. In a bundle of few items it always does, and both exports are the same.

    Raises `BundleError` where the bundle must not be served, or holds a model of an earlier
    Riverrun that TensorFlow Serving cannot restore, and `FileExistsError` where the version was
    exported already.
    """
    manifest = verify(bundle)
    _check_restored(bundle / MODEL)
    with _appearing(folder / model_name / str(version_number(manifest.version))) as draft:
        if custom_ops or not custom_ops_of(bundle / MODEL):
            shutil.copytree(bundle / MODEL, draft)
        else:
            _save_without_custom_ops(bundle / MODEL, manifest, draft)
        if manifest.ranking is not None and manifest.ranking.features:
            (draft / RANK_FEATURES).write_bytes(orjson.dumps(manifest.ranking.features))
    return folder / model_name / str(version_number(manifest.version))


def ops_of(saved_model: Path) -> set[str]:
    """Return the names of all ops in a SavedModel, including those of its functions."""
    graphs = [graph.graph_def for graph in _meta_graphs(saved_model)]
    nodes = [node for graph in graphs for node in graph.node]
    functions = [function for graph in graphs for function in graph.library.function]
    nodes += [node for function in functions for node in function.node_def]
    names = {function.signature.name for function in functions}
    return {node.op for node in nodes} - names


def custom_ops_of(saved_model: Path) -> list[str]:
    """Return the ops that TensorFlow Serving must be built with to load a SavedModel."""
    return sorted(name for name in ops_of(saved_model) if name.startswith(CUSTOM_OPS))


def _meta_graphs(saved_model: Path) -> Any:
    return SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs


def _check_restored(saved_model: Path) -> None:
    """Raise `BundleError` where the model has a variable that TensorFlow Serving would not restore.

    `tf.saved_model.load` restores variables in another way, and would not notice.
    """
    for graph in _meta_graphs(saved_model):
        nodes = {node.name: node for node in graph.graph_def.node}
        restore = nodes.get(graph.saver_def.restore_op_name)
        restored = set() if restore is None else set(restore.input)
        for node in nodes.values():
            if node.op == "VarHandleOp" and node.name not in restored:
                raise BundleError(
                    saved_model / "saved_model.pb",
                    f"variable {node.name!r} is not restored by TensorFlow Serving. To make a "
                    "bundle whose model is: riverrun refresh",
                )


def _save_without_custom_ops(model: Path, manifest: Manifest, folder: Path) -> None:
    loaded = load_saved_model(model, manifest)
    signatures = dict(loaded.signatures)
    encode = signatures[ENCODE_QUERY]

    def recommend(**query: Any) -> dict[str, Any]:
        queries = encode(**query)["embeddings"]
        return best_of_all(queries, loaded.candidates, loaded.candidate_ids, manifest.top_k)

    signatures[RECOMMEND] = trace(recommend, encode.structured_input_signature[1])
    # Only what the functions read: all of `loaded` would include its searcher.
    module = tf.Module()
    module.parts = [getattr(loaded, name) for name in PARTS if hasattr(loaded, name)]
    tf.saved_model.save(module, str(folder), signatures=signatures)
    write_warmup(folder, signatures)


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a path to write a folder to; rename it to `folder` if the block succeeds."""
    if folder.exists():
        raise FileExistsError(f"{folder} exists already.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # TensorFlow Serving looks only at folders whose names are numbers.
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        yield draft
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
