"""The candidate tower: from all that is known of an item to its candidate embedding."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from feature_repo.candidate_features import CandidateFeatures
from trainer.import_keras import keras

PRICE_BUCKETS = 16
AGE_BUCKETS = 16


@dataclass(frozen=True, slots=True)
class CandidateVocabulary:
    """The names that the candidate tower has embeddings for. Index 0 always means "unknown".

    `price_boundaries` are ascending quantiles of log(1 + price). A tag that only one item has is
    left out: it says no more than the item's id.
    """

    item_ids: Sequence[str]
    categories: Sequence[str]
    brands: Sequence[str]
    tags: Sequence[str]
    price_boundaries: Sequence[float]

    @classmethod
    def of(
        cls, features: CandidateFeatures, price_boundaries: Sequence[float] | None = None
    ) -> "CandidateVocabulary":
        """Learn the vocabulary of a catalogue; `price_boundaries` are kept where given."""
        if price_boundaries is None:
            price_boundaries = _price_boundaries(features.price)
        return cls(
            item_ids=features.item_id.tolist(),
            categories=sorted(set(features.category) - {""}),
            brands=sorted(set(features.brand) - {""}),
            tags=_shared(features.tags),
            price_boundaries=list(price_boundaries),
        )


def _shared(tags: npt.NDArray[np.object_]) -> list[str]:
    items = Counter(tag for own in tags for tag in set(own.tolist()) - {""})
    return sorted(tag for tag, count in items.items() if count > 1)


def _price_boundaries(prices: npt.NDArray[np.float32]) -> list[float]:
    known = np.log1p(prices[~np.isnan(prices)])
    quantiles = np.linspace(0, 1, PRICE_BUCKETS)[1:-1]
    boundaries = np.unique(np.quantile(known, quantiles)) if len(known) else np.zeros(0)
    return [float(boundary) for boundary in boundaries]


def name_index(names: Sequence[str], values: npt.NDArray[np.object_]) -> npt.NDArray[np.int32]:
    """Return int32 indices of `values` in `names`, from 1 on, in their shape; 0 where unknown."""
    index = {name: position + 1 for position, name in enumerate(names)}
    indices = np.array([index.get(value, 0) for value in values.ravel()], dtype=np.int32)
    return indices.reshape(values.shape)


def candidate_columns(
    vocabulary: CandidateVocabulary, features: CandidateFeatures
) -> dict[str, npt.NDArray[Any]]:
    """Return what the candidate tower reads of n items, beside their texts and ages.

    `id`, `category`, `brand`: int32 [n]; `tags`: int32 [n, k]. They are indices in `vocabulary`,
    from 1 on; 0 where unknown or none. `price`: float32 [n], NaN where unknown.
    """
    return {
        "id": name_index(vocabulary.item_ids, features.item_id),
        "category": name_index(vocabulary.categories, features.category),
        "brand": name_index(vocabulary.brands, features.brand),
        "tags": name_index(vocabulary.tags, features.tags),
        "price": features.price,
    }


class CandidateTower(keras.layers.Layer):
    """Sums projections of everything known about an item.

    It is a sum so that a missing part adds nothing: an item that was not in training has no id,
    and is embedded from the rest. In training the id is dropped at random for
    the same reason. The last coordinate of the embedding carries popularity: the query embedding
    is always 1 there, so that popularity adds to the score.

    Args:
        vocabulary: the names to have embeddings of.
        dimension: of the embedding, the popularity coordinate included.
        text_dimension: of the text embedding.
        id_dropout: share of ids dropped in training.
        popularity: float [num_items], the initial popularity coordinate of each id; centred.
    """

    def __init__(
        self,
        vocabulary: CandidateVocabulary,
        dimension: int,
        text_dimension: int,
        id_dropout: float = 0.0,
        popularity: npt.NDArray[np.float32] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocabulary = vocabulary
        self.dimension = dimension
        self.text_dimension = text_dimension
        self.id_dropout = id_dropout
        self._popularity = popularity
        self._seed_generator = keras.random.SeedGenerator()
        self.text_projection = keras.layers.Dense(
            dimension, use_bias=False, kernel_initializer=_small(), name="text_projection"
        )

    def build(self, *_: Any) -> None:
        """Create the weights; shapes follow from the vocabulary alone."""
        names = self.vocabulary
        self.id_embeddings = self._table("id", len(names.item_ids), self._initial_ids)
        self.category_embeddings = self._table("category", len(names.categories))
        self.brand_embeddings = self._table("brand", len(names.brands))
        self.tag_embeddings = self._table("tag", len(names.tags))
        self.price_embeddings = self._table("price", len(names.price_boundaries) + 1)
        self.age_embeddings = self._table("age", AGE_BUCKETS)
        self.text_projection.build((None, self.text_dimension))
        self.built = True

    def _table(self, name: str, size: int, initializer: Any = None) -> Any:
        # Row 0, "unknown", stays at zero: lookups are masked by index > 0.
        shape = (size + 1, self.dimension)
        return self.add_weight(name=name, shape=shape, initializer=initializer or _small())

    def _initial_ids(self, shape: Sequence[int], dtype: Any = None) -> Any:
        values = keras.random.normal(shape, stddev=0.1, seed=0, dtype=dtype)
        if self._popularity is None:
            return values
        popularity = np.concatenate([[0.0], self._popularity]).astype(np.float32)
        return keras.ops.concatenate([values[:, :-1], popularity[:, None]], axis=1)

    def call(self, features: dict[str, Any], training: bool = False) -> Any:
        """Return candidate embeddings, float [n, dimension].

        Args:
            features: `id`, `category`, `brand`: int32 [n], 0 where unknown; `tags`: int32 [n, k],
                0 where unknown or none; `text_embedding`: float [n, text_dimension]; `price`:
                float [n], NaN where unknown; `age_days`: float [n], negative where unknown.
            training: whether to drop ids.
        """
        ids = features["id"]
        if training and self.id_dropout:
            uniform = keras.random.uniform(tf.shape(ids), seed=self._seed_generator)
            ids = tf.where(uniform < self.id_dropout, 0, ids)
        return (
            _lookup(self.id_embeddings, ids)
            + self.text_projection(features["text_embedding"])
            + _lookup(self.category_embeddings, features["category"])
            + _lookup(self.brand_embeddings, features["brand"])
            + self._sum_of_tags(features["tags"])
            + _lookup(self.price_embeddings, self._price_bucket(features["price"]))
            + _lookup(self.age_embeddings, age_bucket(features["age_days"]))
        )

    def _sum_of_tags(self, tags: Any) -> Any:
        total = tf.reduce_sum(_lookup(self.tag_embeddings, tags), axis=1)
        # By the square root: many tags say more of an item than one, but not in proportion.
        count = tf.math.count_nonzero(tags, axis=1, keepdims=True, dtype=total.dtype)
        return total * tf.math.rsqrt(tf.maximum(count, 1))

    def _price_bucket(self, price: Any) -> Any:
        logarithm = tf.math.log1p(tf.maximum(tf.cast(price, tf.float32), 0.0))
        boundaries = tf.constant(self.vocabulary.price_boundaries, tf.float32)
        bucket = tf.searchsorted(boundaries, logarithm)
        return tf.where(tf.math.is_nan(price), 0, bucket + 1)


def age_bucket(age_days: Any) -> Any:
    """Return int32 buckets 1..16, doubling in width from half a day on; 0 for a negative age."""
    # In float32 whatever the precision of training: log(2.0) has that type.
    age_days = tf.cast(age_days, tf.float32)
    doublings = tf.math.log(1.0 + 2.0 * tf.maximum(age_days, 0.0)) / tf.math.log(2.0)
    bucket = 1 + tf.minimum(tf.cast(doublings, tf.int32), AGE_BUCKETS - 1)
    return tf.where(age_days < 0, 0, bucket)


def _lookup(table: Any, index: Any) -> Any:
    table = keras.ops.convert_to_tensor(table)
    return tf.gather(table, index) * tf.cast(index > 0, table.dtype)[..., None]


def _small() -> Any:
    return keras.initializers.RandomNormal(stddev=0.1, seed=keras.random.SeedGenerator(0))
