"""The towers of a bundle's SavedModel behind the `Encoder` contract."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.candidate_features import candidate_features
from feature_repo.history import UserHistory
from feature_repo.schema import Item
from serving.bundle import Bundle
from serving.history_columns import Embeddings, HistoryColumns, Lookup
from serving.signatures import ENCODE_CANDIDATE_FROM_TEXT, ENCODE_QUERY_FROM_EMBEDDINGS, ENCODE_TEXT
from serving.text_embedding_cache import TextEmbeddingCache

# Few lengths of history, so that TensorFlow plans and allocates for few shapes.
LENGTHS = (8, 16, 32, 64, 128)
TEXT_BATCH = 64
QUERY_BATCH = 256
CANDIDATE_BATCH = 1024


class SavedModelEncoder:
    """One bundle's towers. Safe for use by many threads: it keeps no state of its own.

    lookup: candidate ids -> embeddings float32 [n, dimension] and which of them were found. It
    reads the live index, so that an item that arrived a second ago counts in a history.
    """

    def __init__(self, bundle: Bundle, lookup: Lookup, text_cache: TextEmbeddingCache) -> None:
        self._manifest = bundle.manifest
        # Keeps the model alive, and so the variables that its functions refer to.
        self._model = bundle.model
        self._signatures = bundle.signatures
        self._lookup = lookup
        self._text_cache = text_cache
        self._text_model = bundle.manifest.text_model
        longest = bundle.manifest.max_history
        self._lengths = (*(length for length in LENGTHS if length < longest), longest)

    @property
    def bundle_version(self) -> str:
        """The vector space the embeddings lie in."""
        return self._manifest.version

    def warm_up(self) -> None:
        """Run every tower once per history length, so that the first request need not wait."""
        self.encode_text(["warm"])
        nowhere = np.zeros(0, dtype=np.int64)
        nothing = np.zeros((0, self._manifest.dimension), dtype=np.float32)
        for length in self._lengths:
            lengths = np.array([length])
            blank = HistoryColumns(nowhere, nowhere, nothing, nowhere, ("",), nowhere, lengths)
            self._encode_batch(blank, None)

    def encode_queries(
        self, histories: Sequence[UserHistory], query_texts: Sequence[str] | None = None
    ) -> Embeddings:
        """Return query embeddings, float32 [len(histories), dimension].

        Events on items that have no candidate embedding are left out.
        """
        if query_texts is not None and len(query_texts) != len(histories):
            raise ValueError(
                f"`query_texts` must hold one text per history. Received: {len(query_texts)} "
                f"texts, {len(histories)} histories."
            )
        embeddings = np.empty((len(histories), self._manifest.dimension), dtype=np.float32)
        texts = None if query_texts is None else self._query_texts(query_texts)
        # Short histories are not padded to the length of long ones.
        order = sorted(range(len(histories)), key=lambda number: len(histories[number].events))
        for start in range(0, len(order), QUERY_BATCH):
            batch = order[start : start + QUERY_BATCH]
            columns = HistoryColumns.of(
                [histories[number] for number in batch], self._lookup, self._manifest.max_history
            )
            embeddings[batch] = self._encode_batch(columns, None if texts is None else texts[batch])
        return embeddings

    def encode_candidates(self, items: Sequence[Item], at: datetime) -> Embeddings:
        """Return candidate embeddings, float32 [len(items), dimension], of new items too."""
        embeddings = np.empty((len(items), self._manifest.dimension), dtype=np.float32)
        for start in range(0, len(items), CANDIDATE_BATCH):
            batch = items[start : start + CANDIDATE_BATCH]
            columns = candidate_features(batch, at)
            result = self._signatures[ENCODE_CANDIDATE_FROM_TEXT](
                item_id=tf.constant(columns.item_id, tf.string),
                text_embedding=tf.constant(self.encode_text(columns.text.tolist())),
                category=tf.constant(columns.category, tf.string),
                brand=tf.constant(columns.brand, tf.string),
                tags=tf.constant(columns.tags, tf.string, columns.tags.shape),
                price=tf.constant(columns.price),
                age_days=tf.constant(columns.age_days),
            )
            embeddings[start : start + len(batch)] = result["embeddings"].numpy()
        return embeddings

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Return text embeddings, float32 [len(texts), text_dimension], L2-normalised."""
        return self._text_cache.embedded(
            self._text_model, texts, self._manifest.text_dimension, self._embed_texts
        )

    def _embed_texts(self, texts: Sequence[str]) -> Embeddings:
        embeddings = np.empty((len(texts), self._manifest.text_dimension), dtype=np.float32)
        # Texts of similar length share a batch, since the tower pads to the longest.
        by_length = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), TEXT_BATCH):
            chosen = by_length[start : start + TEXT_BATCH]
            batch = tf.constant([texts[place] for place in chosen], tf.string)
            embeddings[chosen] = self._signatures[ENCODE_TEXT](texts=batch)["embeddings"].numpy()
        return embeddings

    def _query_texts(self, texts: Sequence[str]) -> Embeddings:
        embeddings = np.zeros((len(texts), self._manifest.text_dimension), dtype=np.float32)
        asked = [row for row, text in enumerate(texts) if text]
        if asked:
            embeddings[asked] = self.encode_text([texts[row] for row in asked])
        return embeddings

    def _padded_length(self, length: int) -> int:
        return next(padded for padded in self._lengths if padded >= length)

    def _encode_batch(self, columns: HistoryColumns, texts: Embeddings | None) -> Embeddings:
        length = self._padded_length(int(columns.lengths.max(initial=0)))
        if texts is None:
            shape = (len(columns.lengths), self._manifest.text_dimension)
            texts = np.zeros(shape, dtype=np.float32)
        # Names are gathered by their numbers: a tensor of all strings would be made one by one.
        names = tf.constant(columns.type_names, tf.string)
        types = tf.constant(columns.padded(columns.event_types, length))
        result: dict[str, Any] = self._signatures[ENCODE_QUERY_FROM_EMBEDDINGS](
            history_embeddings=tf.constant(columns.padded(columns.embeddings, length)),
            event_types=tf.gather(names, types),
            timestamps=tf.constant(columns.padded(columns.timestamps, length)),
            query_text_embedding=tf.constant(texts),
        )
        embeddings: Embeddings = result["embeddings"].numpy()
        return embeddings
