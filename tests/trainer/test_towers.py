"""What the towers may see, and what they do with what they do not know."""

from datetime import UTC, datetime

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import numpy as np
import pytest
import tensorflow as tf

from feature_repo.candidate_features import candidate_features
from feature_repo.schema import Item
from feature_repo.times import HOUR
from tests.support.host_memory import computed_on_the_host
from trainer.candidate_tower import (
    AGE_BUCKETS,
    CandidateTower,
    CandidateVocabulary,
    age_bucket,
    name_index,
)
from trainer.import_keras import keras
from trainer.query_tower import (
    ORDER_BUCKETS,
    TIME_BUCKETS,
    QueryTower,
    SparseQueryAttention,
    order_bucket,
    time_bucket,
)

DIMENSION, TEXT_DIMENSION, LENGTH = 8, 12, 6
NO_QUERY = np.zeros(TEXT_DIMENSION)


def random_tower(num_layers: int = 1, event_dropout: float = 0.0) -> QueryTower:
    keras.utils.set_random_seed(0)
    tower = QueryTower(
        DIMENSION,
        TEXT_DIMENSION,
        num_event_types=2,
        hidden_units=8,
        num_layers=num_layers,
        num_heads=2,
        event_dropout=event_dropout,
    )
    tower.build()
    random = np.random.default_rng(0)
    # What starts at zero would make every test pass.
    for weight in tower.trainable_variables:
        weight.assign(random.normal(scale=0.3, size=weight.shape))
    return tower


@pytest.fixture
def query_tower() -> QueryTower:
    return random_tower()


@pytest.fixture
def weighted_sum() -> QueryTower:
    return random_tower(num_layers=0)


def encode(
    tower: QueryTower,
    history: np.ndarray,
    times: np.ndarray,
    last: int,
    query_text: np.ndarray = NO_QUERY,
) -> np.ndarray:
    types = np.where(times > 0, 1, 0)[None]
    arguments = (history[None], types, times[None], np.array([[last]]), query_text[None, None])
    dtypes = (tf.float32, tf.int32, tf.int64, tf.int32, tf.float32)
    tensors = [tf.constant(value, kind) for value, kind in zip(arguments, dtypes, strict=True)]
    return tower(*tensors).numpy()[0, 0]


def history() -> tuple[np.ndarray, np.ndarray]:
    vectors = np.random.default_rng(1).normal(size=(LENGTH, DIMENSION))
    return vectors, (1 + np.arange(LENGTH, dtype=np.int64) ** 2) * HOUR


def test_a_position_sees_nothing_that_came_later(query_tower: QueryTower) -> None:
    vectors, times = history()
    before = encode(query_tower, vectors, times, last=2)
    vectors[3:] = 100.0
    times[3:] *= 7
    np.testing.assert_allclose(encode(query_tower, vectors, times, last=2), before, rtol=1e-5)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropping_all_that_came_before_lets_nothing_later_in(num_layers: int) -> None:
    tower = random_tower(num_layers, event_dropout=0.9)
    num_users, last = 50, 1
    vectors, times = (np.repeat(each[None], num_users, axis=0) for each in history())
    positions = tf.fill([num_users, 1], last)
    no_query = tf.zeros([num_users, 1, TEXT_DIMENSION])
    shown = tf.constant(vectors, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(shown)
        queries = tower(
            shown, tf.ones_like(times, tf.int32), times, positions, no_query, training=True
        )
        total = tf.reduce_sum(queries**2)
    moved = tape.gradient(total, shown).numpy()
    assert moved[:, : last + 1].any()
    assert not moved[:, last + 1 :].any()


def test_a_position_sees_all_that_came_before(query_tower: QueryTower) -> None:
    vectors, times = history()
    before = encode(query_tower, vectors, times, last=2)
    for position in range(3):
        changed = vectors.copy()
        changed[position] += 1.0
        assert not np.allclose(encode(query_tower, changed, times, last=2), before, atol=1e-4)


def test_padding_changes_nothing(query_tower: QueryTower) -> None:
    vectors, times = history()
    padded = np.concatenate([vectors, np.full((3, DIMENSION), 9.0)])
    padded_times = np.concatenate([times, np.zeros(3, np.int64)])
    np.testing.assert_allclose(
        encode(query_tower, padded, padded_times, last=LENGTH - 1),
        encode(query_tower, vectors, times, last=LENGTH - 1),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_moment_of_the_request_does_not_matter(query_tower: QueryTower) -> None:
    vectors, times = history()
    np.testing.assert_allclose(
        encode(query_tower, vectors, times + 1000 * HOUR, last=LENGTH - 1),
        encode(query_tower, vectors, times, last=LENGTH - 1),
        rtol=1e-5,
    )


def test_the_order_of_moments_counts_however_close_they_are(weighted_sum: QueryTower) -> None:
    vectors, _ = history()
    seconds = HOUR + np.arange(LENGTH, dtype=np.int64) * (HOUR // 3600)
    # The last stays: it is the position that is asked about.
    other = vectors[[4, 1, 2, 3, 0, 5]]
    asked = encode(weighted_sum, vectors, seconds, last=LENGTH - 1)
    assert not np.allclose(encode(weighted_sum, other, seconds, last=LENGTH - 1), asked, atol=1e-3)


def test_events_of_one_moment_have_no_order(weighted_sum: QueryTower) -> None:
    vectors, times = history()
    times[1:4] = times[1]
    asked = encode(weighted_sum, vectors, times, last=LENGTH - 1)
    other = vectors[[0, 3, 1, 2, 4, 5]]
    np.testing.assert_allclose(
        encode(weighted_sum, other, times, last=LENGTH - 1), asked, rtol=1e-4, atol=1e-5
    )


def test_an_empty_history_asks_for_popularity_alone(query_tower: QueryTower) -> None:
    vectors, times = history()
    query = encode(query_tower, vectors, np.zeros_like(times), last=0)
    np.testing.assert_array_equal(query, [0.0] * (DIMENSION - 1) + [1.0])


def test_a_search_query_moves_the_embedding_with_and_without_a_history(
    query_tower: QueryTower,
) -> None:
    vectors, times = history()
    query_text = np.random.default_rng(2).normal(size=TEXT_DIMENSION)
    for shown in (times, np.zeros_like(times)):
        asked = encode(query_tower, vectors, shown, 3, query_text)
        moved = asked - encode(query_tower, vectors, shown, 3)
        assert np.abs(moved[:-1]).max() > 0.1
        # What is popular stays as popular.
        assert moved[-1] == 0.0


def test_sparse_query_attention_is_multi_head_attention() -> None:
    random = np.random.default_rng(0)
    shape = (None, None, DIMENSION)
    ours, theirs = SparseQueryAttention(2, 4), keras.layers.MultiHeadAttention(2, 4)
    ours.build(shape, shape)
    theirs.build(shape, shape)
    for weight in theirs.weights:
        weight.assign(random.normal(size=weight.shape))
    # In Keras's order, and without the key's bias, which softmax cancels.
    query, query_bias, key, _, value, value_bias, output, output_bias = theirs.get_weights()
    ours.set_weights([query, query_bias, key, value, value_bias, output, output_bias])
    asked = tf.constant(random.normal(size=(3, 2, DIMENSION)), tf.float32)
    events = tf.constant(random.normal(size=(3, LENGTH, DIMENSION)), tf.float32)
    seen = random.random((3, 2, LENGTH)) < 0.5
    seen[0, 0] = False
    np.testing.assert_allclose(
        ours(asked, events, tf.constant(seen)),
        theirs(asked, events, attention_mask=tf.constant(seen)),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_a_query_tower_may_have_any_number_of_layers(num_layers: int) -> None:
    tower = QueryTower(DIMENSION, TEXT_DIMENSION, num_event_types=2, num_layers=num_layers)
    tower.build()
    vectors, times = history()
    assert np.isfinite(encode(tower, vectors, times, last=2)).all()


def test_nothing_of_positions_by_events_is_computed_beside_a_gpu(query_tower: QueryTower) -> None:
    traced = tf.function(query_tower, autograph=False).get_concrete_function(
        tf.TensorSpec([None, None, DIMENSION], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.int64),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None, TEXT_DIMENSION], tf.float32),
        training=True,
    )
    assert computed_on_the_host(traced.graph, rank=3) == []


def test_time_buckets_grow_with_time_and_are_bounded() -> None:
    hours = tf.constant([0, 1, 24, 100, 1_000, 10_000, 10_000_000], tf.int64) * HOUR
    buckets = time_bucket(hours).numpy()
    assert (np.diff(buckets) > 0).all()
    assert buckets[0] == 0
    assert buckets[-1] == TIME_BUCKETS - 1
    assert time_bucket(tf.constant(-HOUR, tf.int64)).numpy() == 0


def test_order_buckets_tell_the_newest_apart_and_are_bounded() -> None:
    buckets = order_bucket(tf.constant([0, 1, 2, 3, 5, 7, 15, 127, 1e9])).numpy()
    assert (np.diff(buckets) > 0).all()
    # Two for each doubling: whole powers of two are not below themselves.
    assert buckets.tolist() == [0, 2, 3, 4, 5, 6, 8, 14, ORDER_BUCKETS - 1]


def test_age_buckets_grow_with_age_and_0_is_unknown() -> None:
    ages = [-1.0, 0.0, 0.5, 2.0, 30.0, 400.0, 1e6]
    buckets = age_bucket(tf.constant(ages)).numpy()
    assert (np.diff(buckets) > 0).all()
    assert buckets[0] == 0
    assert buckets[1] == 1
    assert buckets[-1] == AGE_BUCKETS


@pytest.fixture
def candidate_tower() -> CandidateTower:
    vocabulary = CandidateVocabulary(["a", "b"], ["shoes"], ["acme"], ["red"], [1.0, 2.0, 3.0])
    keras.utils.set_random_seed(0)
    tower = CandidateTower(vocabulary, DIMENSION, text_dimension=4, id_dropout=0.999)
    tower.build()
    return tower


def item(**changes: float) -> dict[str, tf.Tensor]:
    known = {"id": 0, "category": 0, "brand": 0, "tags": 0, "price": np.nan, "age_days": -1.0}
    integers = ("id", "category", "brand", "tags")
    columns = {
        name: tf.constant([value], tf.int32 if name in integers else tf.float32)
        for name, value in (known | changes).items()
    }
    columns["tags"] = columns["tags"][:, None]
    return {"text_embedding": tf.constant([[0.5] * 4]), **columns}


def test_what_is_unknown_adds_nothing(candidate_tower: CandidateTower) -> None:
    text_alone = candidate_tower.text_projection(tf.constant([[0.5] * 4]))
    np.testing.assert_allclose(candidate_tower(item()), text_alone, rtol=1e-6)


@pytest.mark.parametrize("known", ["id", "category", "brand", "tags", "price", "age_days"])
def test_what_is_known_adds_something(candidate_tower: CandidateTower, known: str) -> None:
    assert not np.allclose(candidate_tower(item(**{known: 1})), candidate_tower(item()))


def test_a_tag_that_one_item_alone_has_is_not_learned() -> None:
    items = [
        Item(item_id="a", tags=("red", "rare", "rare")),
        Item(item_id="b", tags=("red", "round")),
        Item(item_id="c", tags=("round",)),
    ]
    features = candidate_features(items, datetime(2025, 1, 1, tzinfo=UTC))
    vocabulary = CandidateVocabulary.of(features)
    assert vocabulary.tags == ["red", "round"]
    np.testing.assert_array_equal(
        name_index(vocabulary.tags, features.tags), [[1, 0, 0], [1, 2, 0], [2, 0, 0]]
    )


def test_the_order_of_tags_and_padding_change_nothing(candidate_tower: CandidateTower) -> None:
    candidate_tower.tag_embeddings.assign(
        np.random.default_rng(0).normal(size=candidate_tower.tag_embeddings.shape)
    )
    one, padded = item(tags=1), item()
    padded["tags"] = tf.constant([[0, 1, 0]])
    np.testing.assert_allclose(candidate_tower(one), candidate_tower(padded), rtol=1e-6)


def test_ids_are_dropped_in_training_alone(candidate_tower: CandidateTower) -> None:
    unseen, seen = candidate_tower(item()), item(id=1)
    np.testing.assert_allclose(candidate_tower(seen, training=True), unseen)
    assert not np.allclose(candidate_tower(seen), unseen)
