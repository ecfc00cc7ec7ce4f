"""The module that is saved as a bundle's SavedModel.

Its signatures, their arguments and results are those of `serving.signatures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from scann.scann_ops.py import scann_ops

from serving.scann_index import num_leaves, num_reordered, searched_leaves
from serving.scann_logs import only_errors_of_scann
from serving.signatures import (
    ENCODE_CANDIDATE,
    ENCODE_CANDIDATE_FROM_TEXT,
    ENCODE_QUERY,
    ENCODE_QUERY_FROM_EMBEDDINGS,
    ENCODE_TEXT,
    RANK,
    RECOMMEND,
)
from trainer.candidate_tower import CandidateTower
from trainer.import_keras import keras
from trainer.query_tower import QueryTower
from trainer.text_tower import TextTower
from trainer.trained_model import TrainedModel

PARTS = (
    "weights",
    "ids",
    "candidate_rows",
    "categories",
    "brands",
    "tags",
    "event_types",
    "candidate_ids",
    "candidates",
)
"""Attributes of `ServingModule` that its functions read, except ScaNN's searcher."""
BRUTE_FORCE_BELOW = 20_000
"""Up to so many candidates the SavedModel scores all of them; of more, ScaNN's op searches."""


@dataclass(frozen=True, slots=True, eq=False)
class _Layers:
    """Keras's layers, hidden from `tf.saved_model.save`.

    `tf.saved_model.save` would save a copy of a Keras variable that it finds. TensorFlow Serving
    would restore the copy, while the functions read the variable itself, which nothing would set.
    `keras.export` tracks only TensorFlow's variables for the same reason.
    """

    text_tower: TextTower
    query_tower: QueryTower
    candidate_tower: CandidateTower
    ranker: keras.Model | None

    def weights(self) -> list[Any]:
        """Return TensorFlow's variables of all layers."""
        layers = (self.text_tower, self.query_tower, self.candidate_tower, self.ranker)
        return [
            variable.value for layer in layers if layer is not None for variable in layer.variables
        ]


class ServingModule(tf.Module):
    """The towers behind string inputs, with the candidates they retrieve from.

    Each public method is a signature; `serving.signatures.SIGNATURES` has their shapes and dtypes.

    Args:
        model: the trained towers.
        candidate_ids: ids in row order; they need not be those that the model was trained on.
        embeddings: float32 [num_items, dimension].
        top_k: how many candidates `serving_default` returns.
        ranker: the trained ranker, if there is one.
    """

    def __init__(
        self,
        model: TrainedModel,
        candidate_ids: Sequence[str],
        embeddings: npt.NDArray[np.float32],
        top_k: int,
        ranker: keras.Model | None = None,
    ) -> None:
        super().__init__()
        two_tower = model.two_tower
        self._layers = _Layers(
            model.text_tower, two_tower.query_tower, two_tower.candidate_tower, ranker
        )
        self.weights = self._layers.weights()
        self.top_k = top_k
        vocabulary = two_tower.candidate_tower.vocabulary
        self.ids = _name_table(vocabulary.item_ids)
        self.categories = _name_table(vocabulary.categories)
        self.brands = _name_table(vocabulary.brands)
        self.tags = _name_table(vocabulary.tags)
        self.event_types = _name_table(model.interactions.event_types)
        # Traced before any signature: the graph then holds these functions once, whichever
        # signatures call them, and a server loads it faster.
        strings = tf.TensorSpec([None], tf.string)
        self._embed_texts = _shared(self._texts, strings)
        self._embed_histories = _shared(self._histories, *self._history_specs().values())
        self.candidate_rows = _name_table(candidate_ids)
        self.candidate_ids = tf.Variable(list(candidate_ids), trainable=False)
        self.candidates = tf.Variable(embeddings, trainable=False)
        self.searcher = None
        if len(candidate_ids) > BRUTE_FORCE_BELOW:
            self.searcher = _build_searcher(embeddings, top_k)

    def encode_text(self, texts: Any) -> dict[str, Any]:
        """Embed texts."""
        return {"embeddings": self._embed_texts(texts)}

    def encode_candidate(
        self,
        item_id: Any,
        text: Any,
        category: Any,
        brand: Any,
        tags: Any,
        price: Any,
        age_days: Any,
    ) -> dict[str, Any]:
        """Embed items, text included."""
        return self.encode_candidate_from_text(
            item_id, self._embed_texts(text), category, brand, tags, price, age_days
        )

    def encode_candidate_from_text(
        self,
        item_id: Any,
        text_embedding: Any,
        category: Any,
        brand: Any,
        tags: Any,
        price: Any,
        age_days: Any,
    ) -> dict[str, Any]:
        """Embed items whose text is embedded already."""
        features = {
            "id": self.ids.lookup(item_id),
            "text_embedding": text_embedding,
            "category": self.categories.lookup(category),
            "brand": self.brands.lookup(brand),
            "tags": self.tags.lookup(tags),
            "price": price,
            "age_days": age_days,
        }
        return {"embeddings": tf.cast(self._layers.candidate_tower(features), tf.float32)}

    def encode_query(
        self, item_ids: Any, event_types: Any, timestamps: Any, query_text: Any
    ) -> dict[str, Any]:
        """Embed histories given by item ids, looked up among the candidates."""
        rows = self.candidate_rows.lookup(item_ids) - 1
        known = (rows >= 0) & (timestamps > 0)
        # Events on unknown items go to the end, where padding is.
        order = tf.argsort(tf.cast(~known, tf.int32), axis=1, stable=True)
        known, rows, event_types, timestamps = (
            tf.gather(column, order, batch_dims=1)
            for column in (known, rows, event_types, timestamps)
        )
        # Empty query texts are not read: that would take most of the time.
        asked = query_text != ""
        texts = tf.cond(
            tf.reduce_any(asked),
            lambda: self._embed_texts(query_text),
            lambda: tf.zeros([tf.shape(query_text)[0], self._layers.text_tower.dimension]),
        )
        return self.encode_query_from_embeddings(
            tf.gather(self.candidates, tf.maximum(rows, 0)),
            event_types,
            tf.where(known, timestamps, 0),
            texts * tf.cast(asked, tf.float32)[:, None],
        )

    def encode_query_from_embeddings(
        self,
        history_embeddings: Any,
        event_types: Any,
        timestamps: Any,
        query_text_embedding: Any,
    ) -> dict[str, Any]:
        """Embed histories given by candidate embeddings."""
        embeddings = self._embed_histories(
            history_embeddings, event_types, timestamps, query_text_embedding
        )
        return {"embeddings": embeddings}

    def _texts(self, texts: Any) -> Any:
        return tf.cast(self._layers.text_tower(texts), tf.float32)

    def _histories(
        self,
        history_embeddings: Any,
        event_types: Any,
        timestamps: Any,
        query_text_embedding: Any,
    ) -> Any:
        num_events = tf.reduce_sum(tf.cast(timestamps > 0, tf.int32), axis=1)
        last = tf.maximum(num_events - 1, 0)[:, None]
        # A length of 0 would leave no position to encode.
        missing = tf.cast(tf.shape(timestamps)[1] == 0, tf.int32)
        history_embeddings, event_types, timestamps = (
            tf.pad(column, [[0, 0], [0, missing], *([[0, 0]] * (column.shape.rank - 2))])
            for column in (
                history_embeddings,
                self.event_types.lookup(event_types),
                timestamps,
            )
        )
        embeddings = self._layers.query_tower(
            history_embeddings, event_types, timestamps, last, query_text_embedding[:, None, :]
        )
        return tf.cast(embeddings[:, 0], tf.float32)

    def recommend(
        self, item_ids: Any, event_types: Any, timestamps: Any, query_text: Any
    ) -> dict[str, Any]:
        """Return the best candidates of histories."""
        queries = self.encode_query(item_ids, event_types, timestamps, query_text)["embeddings"]
        if self.searcher is None:
            return best_of_all(queries, self.candidates, self.candidate_ids, self.top_k)
        searcher = scann_ops.searcher_from_module(self.searcher)
        # ScaNN's op does not declare the shape of its results; the signature does. Where a search
        # reaches fewer than `top_k` candidates there are fewer columns.
        rows, scores = (
            tf.ensure_shape(found, [None, None]) for found in searcher.search_batched(queries)
        )
        return {"item_ids": tf.gather(self.candidate_ids, rows), "scores": scores}

    def rank(self, features: Any) -> dict[str, Any]:
        """Score candidates by their features."""
        assert self._layers.ranker is not None, "traced where there is one"
        return {"scores": self._layers.ranker(features, training=False)}

    def _history_specs(self) -> dict[str, Any]:
        """Return the arguments of `encode_query_from_embeddings`, in their order."""
        dimension = self._layers.candidate_tower.dimension
        return {
            "history_embeddings": tf.TensorSpec([None, None, dimension], tf.float32),
            "event_types": tf.TensorSpec([None, None], tf.string),
            "timestamps": tf.TensorSpec([None, None], tf.int64),
            "query_text_embedding": tf.TensorSpec(
                [None, self._layers.text_tower.dimension], tf.float32
            ),
        }

    def signatures(self) -> dict[str, Any]:
        """Trace every signature with named, typed arguments of free batch size and length."""
        strings = tf.TensorSpec([None], tf.string)
        floats = tf.TensorSpec([None], tf.float32)
        history = self._history_specs()
        text = history["query_text_embedding"]
        item = {
            "item_id": strings,
            "category": strings,
            "brand": strings,
            "tags": tf.TensorSpec([None, None], tf.string),
            "price": floats,
            "age_days": floats,
        }
        query = {
            "item_ids": history["event_types"],
            "event_types": history["event_types"],
            "timestamps": history["timestamps"],
            "query_text": strings,
        }
        rank = {}
        if self._layers.ranker is not None:
            features = tf.TensorSpec([None, self._layers.ranker.input_shape[-1]], tf.float32)
            rank[RANK] = trace(self.rank, {"features": features})
        return {
            **rank,
            ENCODE_TEXT: trace(self.encode_text, {"texts": strings}),
            ENCODE_CANDIDATE: trace(self.encode_candidate, {**item, "text": strings}),
            ENCODE_CANDIDATE_FROM_TEXT: trace(
                self.encode_candidate_from_text, {**item, "text_embedding": text}
            ),
            ENCODE_QUERY: trace(self.encode_query, query),
            ENCODE_QUERY_FROM_EMBEDDINGS: trace(self.encode_query_from_embeddings, history),
            RECOMMEND: trace(self.recommend, query),
        }


def best_of_all(queries: Any, candidates: Any, candidate_ids: Any, top_k: int) -> dict[str, Any]:
    """Score every candidate; return ids and scores of the best, [n, top_k] each, best first."""
    scores = tf.matmul(queries, candidates, transpose_b=True)
    scores, rows = tf.math.top_k(scores, k=top_k)
    return {"item_ids": tf.gather(candidate_ids, rows), "scores": scores}


def trace(method: Any, specs: Mapping[str, Any]) -> Any:
    """Return the concrete function of `method` for arguments of these names and `TensorSpec`s."""
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    return tf.function(method, autograph=False).get_concrete_function(**named)


def _shared(method: Any, *specs: Any) -> Any:
    """Return the concrete function of `method`, so that not each graph that calls it traces it."""
    return tf.function(method, input_signature=specs, autograph=False).get_concrete_function()


def _name_table(names: Sequence[str]) -> Any:
    """Return a table from names to 1, 2, ...; 0 for any other string."""
    # The empty name stands for "unknown"; a table must not be empty.
    keys = tf.constant(["", *names], tf.string)
    values = tf.range(len(names) + 1, dtype=tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0)


def _build_searcher(embeddings: npt.NDArray[np.float32], top_k: int) -> Any:
    """Return ScaNN's tree, which searches as many leaves as the live index: see `ScannIndex`."""
    only_errors_of_scann()
    size = len(embeddings)
    leaves = num_leaves(size)
    searched = searched_leaves(leaves, size, top_k)
    searcher = (
        scann_ops.builder(tf.constant(embeddings), top_k, "dot_product")
        .tree(leaves, searched, training_sample_size=min(size, 100_000))
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(num_reordered(top_k))
        .build()
    )
    return searcher.serialize_to_module()
