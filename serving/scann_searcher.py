"""How ScaNN is asked for a searcher by dot product."""

from typing import Any

from scann.scann_ops.py import scann_ops_pybind

from serving.exact_index import Embeddings
from serving.item_rows import Rows
from serving.scann_logs import only_errors_of_scann


def build_searcher(
    embeddings: Embeddings,
    *,
    neighbours: int,
    leaves: int,
    searched_leaves: int,
    sample_size: int,
    reordered: int,
    rows: Rows | None = None,
) -> Any:
    """Return a searcher over a tree of `leaves`, trained on `sample_size` of the embeddings.

    A search estimates the dot products of what is in the nearest leaves, by anisotropic
    quantisation (Guo et al., ICML 2020), and takes exact ones of the `reordered` best.
    neighbours, searched_leaves: how many candidates a search finds, and how many leaves it looks
    at, unless it says otherwise. rows: the docids of the embeddings; None numbers them by place.
    """
    only_errors_of_scann()
    builder = scann_ops_pybind.builder(embeddings, neighbours, "dot_product")
    builder = builder.tree(leaves, searched_leaves, training_sample_size=sample_size)
    builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
    return builder.reorder(reordered).build(docids=None if rows is None else rows.tolist())
