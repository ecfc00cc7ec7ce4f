"""The query tower: from a user's events, and maybe a search query, to a query embedding."""

from typing import Any

import tensorflow as tf

from feature_repo.times import DAY
from trainer.import_keras import keras

TIME_BUCKETS = 24
ORDER_BUCKETS = 24


class QueryTower(keras.layers.Layer):
    """A causal transformer beside a causal, time-aware weighted sum of the history.

    The weighted sum makes small data learnable: an event's weight is exp(learned weight of its
    age, place, type and item), and the sum is divided by the square root of the sum of the weights.
    This is the pointwise aggregated attention of HSTU (Zhai et al., ICML 2024, arXiv:2402.17152)
    with its biases of time and position. The place is how many moments ago an event was: where
    people rate or click by the second, ages of minutes do not tell events apart. Events that share
    a timestamp, as those of a basket do, belong to one moment; their order is an accident of
    sorting.

    The transformer reads item, event type and the time since the event before.

    Ages and places are relative to the position that is encoded, never to the moment of a
    request, so an embedding stays valid until the next event.

    Args:
        dimension: of candidate and query embeddings; the last coordinate of a query is 1.
        text_dimension: of the embedding of a search query.
        num_event_types: event types are 1..num_event_types, 0 is padding or unknown.
        hidden_units: of the layer that corrects the weighted sum.
        num_layers, num_heads: of the transformer; 0 layers leave it out.
        event_dropout: share of whole events dropped in training.
        hidden_dropout: share of activations dropped in training.
    """

    def __init__(
        self,
        dimension: int,
        text_dimension: int,
        num_event_types: int,
        hidden_units: int = 64,
        num_layers: int = 1,
        num_heads: int = 2,
        event_dropout: float = 0.0,
        hidden_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dimension = dimension
        self.text_dimension = text_dimension
        self.num_event_types = num_event_types
        self.hidden_units = hidden_units
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.event_dropout = event_dropout
        self.hidden_dropout = hidden_dropout

        width = dimension - 1
        # These names must not change: a bundle's weights are found by their path.
        self.item_weight = keras.layers.Dense(
            1, use_bias=False, kernel_initializer="zeros", name="item_weight"
        )
        self.hidden = keras.layers.Dense(hidden_units, activation="tanh", name="hidden")
        self.dropout = keras.layers.Dropout(hidden_dropout)
        self.correction = keras.layers.Dense(width, name="correction")
        # Zero at first, like the transformer's: a search query only adds to what the history says.
        self.query_projection = keras.layers.Dense(
            width, use_bias=False, kernel_initializer="zeros", name="query_projection"
        )
        # Only the asked positions of the last block are read.
        attentions: list[Any] = [keras.layers.MultiHeadAttention] * (num_layers - 1)
        attentions.append(SparseQueryAttention)
        self.blocks = [
            _TransformerBlock(
                dimension,
                attention(
                    num_heads, dimension // num_heads, dropout=hidden_dropout, name="attention"
                ),
                hidden_dropout,
                name=f"block_{number}",
            )
            for number, attention in enumerate(attentions[:num_layers])
        ]
        # Zero at first, so that the transformer only ever adds to the weighted sum.
        self.transformer_projection = keras.layers.Dense(
            width, kernel_initializer="zeros", name="transformer_projection"
        )
        self._seed_generator = keras.random.SeedGenerator()

    def build(self, *_: Any) -> None:
        """Create the weights; shapes follow from the arguments alone."""
        width = self.dimension - 1
        zeros = "zeros"
        self.age_weights = self.add_weight(name="age", shape=(TIME_BUCKETS,), initializer=zeros)
        self.order_weights = self.add_weight(
            name="order", shape=(ORDER_BUCKETS,), initializer=zeros
        )
        self.type_weights = self.add_weight(
            name="type", shape=(self.num_event_types + 1,), initializer=zeros
        )
        self.item_weight.build((None, width))
        self.hidden.build((None, width))
        self.correction.build((None, self.hidden_units))
        self.query_projection.build((None, None, self.text_dimension))
        if self.blocks:
            self.type_embeddings = self.add_weight(
                name="type_embeddings", shape=(self.num_event_types + 1, self.dimension)
            )
            self.gap_embeddings = self.add_weight(
                name="gap_embeddings", shape=(TIME_BUCKETS, self.dimension)
            )
            for block in self.blocks:
                block.build((None, None, self.dimension))
            self.transformer_projection.build((None, self.dimension))
        self.built = True

    def call(
        self,
        history_embeddings: Any,
        event_types: Any,
        timestamps: Any,
        positions: Any,
        query_text_embedding: Any,
        training: bool = False,
    ) -> Any:
        """Return query embeddings, float [n, num_positions, dimension].

        Args:
            history_embeddings: float [n, length, dimension], candidate embeddings, oldest first.
            event_types: int32 [n, length].
            timestamps: int64 [n, length] in microseconds; 0 is padding, at the end.
            positions: int32 [n, num_positions]; position p sees the events 0..p.
            query_text_embedding: float [n, num_positions, text_dimension], zeros for none.
            training: whether to drop events and activations.
        """
        visible = timestamps > 0
        if training and self.event_dropout:
            uniform = keras.random.uniform(tf.shape(visible), seed=self._seed_generator)
            visible &= uniform >= self.event_dropout
        # The popularity coordinate says nothing about taste.
        tastes = history_embeddings[..., :-1]
        seen = _seen(visible, positions)
        pooled = self._weighted_sum(tastes, event_types, timestamps, seen, positions)
        taste = pooled + self.correction(self.dropout(self.hidden(pooled), training=training))
        if self.blocks:
            encoded = self._transform(
                history_embeddings, event_types, timestamps, visible, positions, training
            )
            taste += self.transformer_projection(encoded)
        # A user without events has no taste: popularity alone decides.
        taste *= tf.cast(tf.reduce_any(timestamps > 0, axis=1), taste.dtype)[:, None, None]
        taste += self.query_projection(query_text_embedding)
        return tf.concat([taste, tf.ones_like(taste[..., :1])], axis=-1)

    def _weighted_sum(
        self, tastes: Any, event_types: Any, timestamps: Any, seen: Any, positions: Any
    ) -> Any:
        age = time_bucket(_since(timestamps, positions))
        order = order_bucket(_since(_moments(timestamps), positions))
        logits = tf.gather(tf.convert_to_tensor(self.age_weights), age)
        logits += tf.gather(tf.convert_to_tensor(self.order_weights), order)
        event_logits = self.item_weight(tastes)[..., 0] + tf.gather(
            tf.convert_to_tensor(self.type_weights), event_types
        )
        weights = tf.exp(tf.cast(logits, tastes.dtype) + event_logits[:, None, :])
        weights *= tf.cast(seen, tastes.dtype)
        total = tf.reduce_sum(weights, axis=-1, keepdims=True)
        return tf.matmul(weights, tastes) * tf.math.rsqrt(total + 1e-3)

    def _transform(
        self,
        embeddings: Any,
        event_types: Any,
        timestamps: Any,
        visible: Any,
        positions: Any,
        training: bool,
    ) -> Any:
        gaps = tf.pad(timestamps[:, 1:] - timestamps[:, :-1], [[0, 0], [1, 0]])
        encoded = (
            embeddings
            + tf.gather(tf.convert_to_tensor(self.type_embeddings), event_types)
            + tf.gather(tf.convert_to_tensor(self.gap_embeddings), time_bucket(gaps))
        )
        everywhere = tf.range(tf.shape(timestamps)[1])[None, :]
        earlier = _attended(visible, everywhere)
        for block in self.blocks[:-1]:
            encoded = block(encoded, encoded, earlier, training=training)
        asked = tf.gather(encoded, positions, batch_dims=1)
        return self.blocks[-1](asked, encoded, _attended(visible, positions), training=training)


class SparseQueryAttention(keras.layers.Layer):
    """Multi-head attention of a few positions to many, as `keras.layers.MultiHeadAttention`.

    The heads' keys and values are never computed. Instead, the query goes through the key
    projection, q · (W x) = (Wᵀ q) · x, and the weighted mean of the inputs through the value
    projection, so that each input costs one dot product. There is no bias of the keys: it would
    add the same to every logit of a query, which softmax cancels.

    Args:
        num_heads, key_dim: heads, and the size of each.
        dropout: share of attention weights dropped in training.
    """

    def __init__(self, num_heads: int, key_dim: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, query_shape: Any, value_shape: Any) -> None:
        """Create the weights: float [dimension, num_heads, key_dim], and [.., dimension] out."""
        heads = (self.num_heads, self.key_dim)
        inner = (value_shape[-1], *heads)

        def weight(name: str, shape: tuple[int, ...], initializer: str = "glorot_uniform") -> Any:
            return self.add_weight(name=name, shape=shape, initializer=initializer)

        self.query_kernel = weight("query", (query_shape[-1], *heads))
        self.query_bias = weight("query_bias", heads, "zeros")
        self.key_kernel = weight("key", inner)
        self.value_kernel = weight("value", inner)
        self.value_bias = weight("value_bias", heads, "zeros")
        self.output_kernel = weight("output", (*heads, query_shape[-1]))
        self.output_bias = weight("output_bias", (query_shape[-1],), "zeros")
        self.built = True

    def call(self, query: Any, value: Any, attention_mask: Any, training: bool = False) -> Any:
        """Return float [n, num_queries, dimension].

        query: float [n, num_queries, dimension]; value: float [n, length, dimension];
        attention_mask: bool [n, num_queries, length], True where a query may look.
        """
        queries = tf.einsum("nqd,dhk->nqhk", query, self.query_kernel) + self.query_bias
        queries = tf.einsum("nqhk,dhk->nqhd", queries, self.key_kernel) * self.key_dim**-0.5
        logits = tf.einsum("nqhd,nld->nqhl", queries, value)
        masked = tf.where(attention_mask[:, :, None, :], logits, logits.dtype.min)
        weights = self.dropout(tf.nn.softmax(masked), training=training)
        # A query that may look nowhere looks everywhere, and dropped weights do not sum to 1: the
        # bias of the values is scaled by their sum.
        total = tf.reduce_sum(weights, axis=-1)[..., None]
        means = tf.einsum("nqhl,nld->nqhd", weights, value)
        means = tf.einsum("nqhd,dhk->nqhk", means, self.value_kernel) + total * self.value_bias
        return tf.einsum("nqhk,hkd->nqd", means, self.output_kernel) + self.output_bias


class _TransformerBlock(keras.layers.Layer):
    """Pre-norm attention and a feed-forward layer, both residual."""

    def __init__(
        self, dimension: int, attention: keras.layers.Layer, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-5, name="attention_norm")
        self.attention = attention
        self.feed_forward_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, name="feed_forward_norm"
        )
        self.expand = keras.layers.Dense(2 * dimension, activation="gelu", name="expand")
        self.contract = keras.layers.Dense(dimension, name="contract")
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, input_shape: Any) -> None:
        self.attention_norm.build(input_shape)
        self.attention.build(input_shape, input_shape)
        self.feed_forward_norm.build(input_shape)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], 2 * input_shape[-1]))
        self.built = True

    def call(self, inputs: Any, events: Any, seen: Any, training: bool = False) -> Any:
        """Return float [n, num_inputs, dimension].

        `events` is float [n, length, dimension]; `seen`, bool [n, num_inputs, length], says
        which of them each input attends to.
        """
        attended = self.attention(
            self.attention_norm(inputs),
            self.attention_norm(events),
            attention_mask=seen,
            training=training,
        )
        outputs = inputs + self.dropout(attended, training=training)
        expanded = self.expand(self.feed_forward_norm(outputs))
        return outputs + self.dropout(self.contract(expanded), training=training)


def _seen(visible: Any, positions: Any) -> Any:
    """Return bool [n, num_positions, length]: the `visible` [n, length] that are not after each."""
    return visible[:, None, :] & (_places_after(visible, positions) <= 0)


def _attended(visible: Any, positions: Any) -> Any:
    """Return bool [n, num_positions, length]: what is seen, and the position itself.

    Even where that is dropped: a softmax over nothing is over everything, and would let in what
    came later.
    """
    return _seen(visible, positions) | (_places_after(visible, positions) == 0)


def _places_after(visible: Any, positions: Any) -> Any:
    """Return int64 [.., num_positions, length]: how many places an event is after a position."""
    # In int64: TensorFlow compares int32 on the CPU, whatever the device.
    places = tf.range(tf.shape(visible, tf.int64)[1])
    return places[None, None, :] - tf.cast(positions, tf.int64)[:, :, None]


def _since(clock: Any, positions: Any) -> Any:
    """Return [n, num_positions, length]: how long before a position an event was, by `clock`.

    clock: [n, length], the clock's value at each event.
    """
    return tf.gather(clock, positions, batch_dims=1)[:, :, None] - clock[:, None, :]


def _moments(timestamps: Any) -> Any:
    """Return float32 [n, length]: how many moments of the history were before the event's."""
    # In float32, as the buckets are: TensorFlow computes int32 on the CPU, whatever the device.
    changed = tf.cast(timestamps[:, 1:] != timestamps[:, :-1], tf.float32)
    return tf.pad(tf.cumsum(changed, axis=1), [[0, 0], [1, 0]])


def _half_doublings(value: Any) -> Any:
    """Return the number of half doublings in 1 + value, 2 log2(1 + value), in `value`'s shape."""
    return 2.0 * tf.math.log(1.0 + value) / tf.math.log(2.0)


def order_bucket(moments: Any) -> Any:
    """Return int32 buckets 0..23, two for each doubling of 1 + moments; `moments` is float32."""
    # Rounding must not put a power of two into the bucket below.
    doublings = tf.floor(_half_doublings(tf.maximum(moments, 0.0)) + 1e-4)
    return tf.cast(tf.minimum(doublings, ORDER_BUCKETS - 1.0), tf.int32)


def time_bucket(microseconds: Any) -> Any:
    """Return int32 buckets 0..23, two for each doubling of 1 + hours / 24."""
    days = tf.cast(tf.maximum(microseconds, 0), tf.float32) / DAY
    # Within the first day the hour matters too: it tells views of this visit from this morning's.
    minutes = tf.cast(days * 24.0 * 60.0 > 30.0, tf.float32)
    bucket = tf.floor(_half_doublings(days)) + minutes
    # Counted in float32: TensorFlow computes int32 on the CPU, whatever the device.
    return tf.cast(tf.minimum(bucket, TIME_BUCKETS - 1.0), tf.int32)
