"""The query tower: a user's events, and maybe a search query, to a query embedding."""

from typing import Any

import keras
import tensorflow as tf

HOUR = 3_600_000_000
"""Microseconds."""
TIME_BUCKETS = 24


class QueryTower(keras.layers.Layer):
    """A causal transformer beside a causal, time-aware weighted sum of the history.

    The weighted sum is what makes small data learnable: each event weighs exp(learned weight
    of its age and item), and the sum is divided by the square root of the weights, as in
    pointwise aggregated attention (HSTU, Zhai et al., ICML 2024, arXiv:2402.17152). The
    transformer adds order: it reads item, event type and the gap to the event before.

    Ages are relative to the position that is encoded and never to the moment of a request, so
    an embedding stays valid until the next event.

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
        self.item_weight = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        self.hidden = keras.layers.Dense(hidden_units, activation="tanh")
        self.dropout = keras.layers.Dropout(hidden_dropout)
        self.correction = keras.layers.Dense(width)
        # Zero at first, like the transformer's: a query adds to what the history says.
        self.query_projection = keras.layers.Dense(
            width, use_bias=False, kernel_initializer="zeros"
        )
        self.blocks = [
            _TransformerBlock(dimension, num_heads, hidden_dropout) for _ in range(num_layers)
        ]
        # Zero at first, so that the transformer only ever adds to the weighted sum.
        self.transformer_projection = keras.layers.Dense(width, kernel_initializer="zeros")
        self._seed_generator = keras.random.SeedGenerator()

    def build(self, *_: Any) -> None:
        """Create the weights; shapes follow from the arguments alone."""
        width = self.dimension - 1
        zeros = "zeros"
        self.age_weights = self.add_weight(name="age", shape=(TIME_BUCKETS,), initializer=zeros)
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
        pooled = self._weighted_sum(tastes, event_types, timestamps, visible, positions)
        taste = pooled + self.correction(self.dropout(self.hidden(pooled), training=training))
        if self.blocks:
            encoded = self._transform(
                history_embeddings, event_types, timestamps, visible, training
            )
            taste += self.transformer_projection(tf.gather(encoded, positions, batch_dims=1))
        # Who has done nothing yet has no taste: popularity alone decides.
        taste *= tf.cast(tf.reduce_any(timestamps > 0, axis=1), taste.dtype)[:, None, None]
        taste += self.query_projection(query_text_embedding)
        return tf.concat([taste, tf.ones_like(taste[..., :1])], axis=-1)

    def _weighted_sum(
        self, tastes: Any, event_types: Any, timestamps: Any, visible: Any, positions: Any
    ) -> Any:
        now = tf.gather(timestamps, positions, batch_dims=1)
        age = time_bucket(now[:, :, None] - timestamps[:, None, :])
        causal = tf.range(tf.shape(timestamps)[1])[None, None, :] <= positions[:, :, None]
        logits = tf.gather(tf.convert_to_tensor(self.age_weights), age)
        event_logits = self.item_weight(tastes)[..., 0] + tf.gather(
            tf.convert_to_tensor(self.type_weights), event_types
        )
        seen = tf.cast(causal & visible[:, None, :], tastes.dtype)
        weights = tf.exp(tf.cast(logits, tastes.dtype) + event_logits[:, None, :]) * seen
        total = tf.reduce_sum(weights, axis=-1, keepdims=True)
        return tf.matmul(weights, tastes) * tf.math.rsqrt(total + 1e-3)

    def _transform(
        self, embeddings: Any, event_types: Any, timestamps: Any, visible: Any, training: bool
    ) -> Any:
        gaps = tf.pad(timestamps[:, 1:] - timestamps[:, :-1], [[0, 0], [1, 0]])
        encoded = (
            embeddings
            + tf.gather(tf.convert_to_tensor(self.type_embeddings), event_types)
            + tf.gather(tf.convert_to_tensor(self.gap_embeddings), time_bucket(gaps))
        )
        for block in self.blocks:
            encoded = block(encoded, visible, training=training)
        return encoded


class _TransformerBlock(keras.layers.Layer):
    """Pre-norm self-attention and a feed-forward layer, both residual; causal."""

    def __init__(self, dimension: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-5)
        self.attention = keras.layers.MultiHeadAttention(
            num_heads, dimension // num_heads, dropout=dropout
        )
        self.feed_forward_norm = keras.layers.LayerNormalization(epsilon=1e-5)
        self.expand = keras.layers.Dense(2 * dimension, activation="gelu")
        self.contract = keras.layers.Dense(dimension)
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, input_shape: Any) -> None:
        self.attention_norm.build(input_shape)
        self.attention.build(input_shape, input_shape)
        self.feed_forward_norm.build(input_shape)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], 2 * input_shape[-1]))
        self.built = True

    def call(self, inputs: Any, visible: Any, training: bool = False) -> Any:
        normed = self.attention_norm(inputs)
        attended = self.attention(
            normed,
            normed,
            attention_mask=visible[:, None, :],
            use_causal_mask=True,
            training=training,
        )
        outputs = inputs + self.dropout(attended, training=training)
        expanded = self.expand(self.feed_forward_norm(outputs))
        return outputs + self.dropout(self.contract(expanded), training=training)


def time_bucket(microseconds: Any) -> Any:
    """Return int32 buckets 0..23, two for each doubling of 1 + hours / 24."""
    days = tf.cast(tf.maximum(microseconds, 0), tf.float32) / (24.0 * HOUR)
    doublings = 2.0 * tf.math.log(1.0 + days) / tf.math.log(2.0)
    # Within the first day the hour matters too: views of this visit against this morning's.
    minutes = tf.cast(days * 24.0 * 60.0 > 30.0, tf.int32)
    bucket = tf.cast(doublings, tf.int32) + minutes
    return tf.minimum(bucket, TIME_BUCKETS - 1)
