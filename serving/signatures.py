"""The signatures of a bundle's SavedModel: what it can be asked, by which names and shapes."""

from collections.abc import Mapping
from typing import NamedTuple

ENCODE_TEXT = "encode_text"
ENCODE_CANDIDATE = "encode_candidate"
ENCODE_CANDIDATE_FROM_TEXT = "encode_candidate_from_text"
ENCODE_QUERY = "encode_query"
ENCODE_QUERY_FROM_EMBEDDINGS = "encode_query_from_embeddings"
RECOMMEND = "serving_default"
RANK = "rank"


class Signature(NamedTuple):
    """Names of a SavedModel signature's arguments and results; axis 0 is the batch."""

    inputs: frozenset[str]
    outputs: frozenset[str]


_QUERY = frozenset({"item_ids", "event_types", "timestamps", "query_text"})
_ITEM = frozenset({"item_id", "category", "brand", "tags", "price", "age_days"})
_EMBEDDINGS = frozenset({"embeddings"})

SIGNATURES: Mapping[str, Signature] = {
    # texts string [n] -> embeddings float32 [n, text_dimension], L2-normalised.
    ENCODE_TEXT: Signature(frozenset({"texts"}), _EMBEDDINGS),
    # item_id, text, category, brand string [n]; tags string [n, k], "" is padding; price (NaN
    # unknown), age_days (-1 unknown) float32 [n] -> embeddings float32 [n, dimension].
    ENCODE_CANDIDATE: Signature(_ITEM | {"text"}, _EMBEDDINGS),
    # The same with text_embedding float32 [n, text_dimension] instead of text.
    ENCODE_CANDIDATE_FROM_TEXT: Signature(_ITEM | {"text_embedding"}, _EMBEDDINGS),
    # item_ids, event_types string [n, L]; timestamps int64 [n, L], microseconds, 0 is padding;
    # query_text string [n] -> embeddings float32 [n, dimension]. Oldest first, padding at the
    # end; an item that is not in the bundle counts as padding.
    ENCODE_QUERY: Signature(_QUERY, _EMBEDDINGS),
    # history_embeddings float32 [n, L, dimension]; event_types, timestamps as above;
    # query_text_embedding float32 [n, text_dimension], zeros without a query.
    ENCODE_QUERY_FROM_EMBEDDINGS: Signature(
        frozenset({"history_embeddings", "event_types", "timestamps", "query_text_embedding"}),
        _EMBEDDINGS,
    ),
    # Inputs of encode_query -> item_ids string [n, top_k], scores float32 [n, top_k].
    RECOMMEND: Signature(_QUERY, frozenset({"item_ids", "scores"})),
}

OPTIONAL_SIGNATURES: Mapping[str, Signature] = {
    # features float32 [n, num_features], columns as the manifest's `ranking.features`
    # -> scores float32 [n]. Where there was too little to learn from, a bundle has no ranker.
    RANK: Signature(frozenset({"features"}), frozenset({"scores"})),
}
