"""What a ranker learns, and whether it is taken by a trial against the fusion."""

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf

from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from trainer.import_keras import keras
from trainer.ranking import ranker
from trainer.ranking.examples import Examples
from trainer.ranking.opinions import TEMPERATURES, Opinions
from trainer.ranking.ranker import (
    as_ranker,
    read_ranker,
    train_ranker,
    weights_of_candidates,
    write_ranker,
)
from trainer.ranking.settings import RankerSettings
from trainer.ranking.trial import ranks_better_than_fusion
from trainer.training_input_error import TrainingInputError

pytestmark = pytest.mark.slow


def _examples(features: np.ndarray, labels: np.ndarray, num_requests: int) -> Examples:
    """Return examples of requests of one size, all of one weight, that the fusion cannot order."""
    ones = np.ones(len(labels), np.float32)
    sizes = np.full(num_requests, len(labels) // num_requests)
    same = np.full((len(labels), len(SOURCES)), num_requests / len(labels), np.float32)
    return Examples(features, labels.reshape(-1, 1), ones, sizes, _opinions(same, sizes))


def _opinions(shares: np.ndarray, sizes: np.ndarray) -> Opinions:
    """Return what sources say where the two-tower says the same of all."""
    silent = np.tile([name == "two_tower" for name in SOURCES], (len(sizes), 1))
    totals = np.tile(np.log(sizes)[:, None], len(TEMPERATURES))
    own = np.zeros(len(shares), np.float32)
    return Opinions(shares.astype(np.float32), own, None, silent, totals)


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_a_ranker_learns_which_source_to_trust(
    tmp_path: Path, loss: Literal["pointwise", "listwise"]
) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(4_000, len(feature_names(SOURCES)))).astype(np.float32)
    column = feature_names(SOURCES).index("ease.score")
    labels = (features[:, column] > 1).astype(np.float32)
    examples = _examples(features, labels, 40)
    settings = RankerSettings(epochs=8, batch_size=256, loss=loss)
    model = train_ranker(examples, settings)
    scores = as_ranker(model).score(features)
    np.testing.assert_allclose(scores, model(features, training=False), atol=1e-4)
    assert scores[labels > 0].mean() > scores[labels == 0].mean() + 2
    again = as_ranker(train_ranker(examples, settings))
    np.testing.assert_allclose(again.score(features), scores, atol=1e-3)
    write_ranker(model, tmp_path / "ranker.safetensors")
    read = as_ranker(read_ranker(tmp_path / "ranker.safetensors", settings))
    np.testing.assert_array_equal(read.score(features), scores)


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_what_weighs_nothing_teaches_nothing(loss: Literal["pointwise", "listwise"]) -> None:
    """Half of the requests want what the other half does not."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4_000, len(feature_names(SOURCES)))).astype(np.float32)
    column = feature_names(SOURCES).index("ease.score")
    wants_much = np.arange(4_000) < 2_000
    wanted = np.where(wants_much, features[:, column] > 1, features[:, column] < -1)
    examples = _examples(features, wanted.astype(np.float32), 40)
    settings = RankerSettings(epochs=8, batch_size=256, loss=loss)
    for much, weights in ((True, wants_much), (False, ~wants_much)):
        weighed = replace(examples, weights=weights.astype(np.float32) + np.float32(1e-6))
        scores = as_ranker(train_ranker(weighed, settings)).score(features)
        high, low = (scores[features[:, column] * sign > 1].mean() for sign in (1, -1))
        assert abs(high - low) > 1
        assert (high > low) == much


def test_who_does_much_weighs_more_but_not_in_proportion() -> None:
    sizes, found = np.array([4, 3]), np.array([1, 1, 1, 1, 0, 1, 0], np.float32)
    weights = np.repeat(np.array([2.0, 1.0], np.float32), sizes)
    nothing = np.zeros((7, len(feature_names(SOURCES))), np.float32)
    weighed = weights_of_candidates(Examples(nothing, found[:, None], weights, sizes))
    assert weighed.tolist() == [0.5] * 4 + [1.0] * 3


@pytest.mark.parametrize("loss", ["pointwise", "listwise"])
def test_a_ranker_that_diverges_is_the_settings_fault(
    loss: Literal["pointwise", "listwise"],
) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(1_000, len(feature_names(SOURCES)))).astype(np.float32)
    examples = _examples(features, (features[:, 0] > 1).astype(np.float32), 10)
    settings = RankerSettings(epochs=1, batch_size=256, loss=loss, learning_rate=1e30)
    with pytest.raises(TrainingInputError, match=r"lower `training\.ranking\.learning_rate`"):
        train_ranker(examples, settings)


def test_a_ranker_is_not_compiled_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimpleNamespace(device_type="GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *kind: [gpu])
    fitted: list[keras.Model] = []
    fit = keras.Model.fit

    def recorded(model: keras.Model, *arguments: Any, **named: Any) -> Any:
        fitted.append(model)
        return fit(model, *arguments, **named)

    monkeypatch.setattr(keras.Model, "fit", recorded)
    features = np.zeros((10, len(feature_names(SOURCES))), np.float32)
    labels = np.eye(10, dtype=np.float32)[0]
    examples = _examples(features, labels, 1)
    train_ranker(examples, RankerSettings(epochs=1, loss="pointwise"))
    assert [model.jit_compile for model in fitted] == [False]


def test_a_feature_that_never_varied_says_nothing(tmp_path: Path) -> None:
    """Such as co-visitation, where no stream learns it."""
    random = np.random.default_rng(0)
    names = feature_names(SOURCES)
    silent = [number for number, name in enumerate(names) if name.startswith("co_visitation.")]
    features = random.normal(size=(1_000, len(names))).astype(np.float32)
    features[:, silent] = 0.3
    labels = (features[:, names.index("ease.score")] > 1).astype(np.float32)
    examples = _examples(features, labels, 10)
    settings = RankerSettings(epochs=1, batch_size=256)
    model = train_ranker(examples, settings)
    expected = as_ranker(model).score(features)
    features[:, silent] = random.normal(size=(1_000, len(silent)))
    np.testing.assert_allclose(as_ranker(model).score(features), expected, atol=1e-5)
    # Gone on from its files too.
    write_ranker(model, tmp_path / "ranker.safetensors")
    loaded = read_ranker(tmp_path / "ranker.safetensors", settings)
    np.testing.assert_allclose(as_ranker(loaded).score(features), expected, atol=1e-5)


def test_a_ranker_that_orders_no_better_than_the_fusion_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranker, "MOST_EPOCHS", 8)
    random = np.random.default_rng(0)
    features = random.normal(size=(3_000, len(feature_names(SOURCES)))).astype(np.float32)
    # Of each request the three that EASE scores highest, as its labels.
    scores = features[:, feature_names(SOURCES).index("ease.score")].reshape(60, 50)
    labels = (scores >= np.sort(scores)[:, [-3]]).astype(np.float32)
    learnable = _examples(features, labels.ravel(), 60)
    settings = RankerSettings(epochs=8, batch_size=256)
    assert ranks_better_than_fusion(learnable, learnable, [], settings, 0)
    # What decides is in no feature, and the fusion knows it.
    hidden = random.permuted(labels, axis=1).ravel()
    shares = np.tile(hidden[:, None] / 3, len(SOURCES))
    known = replace(learnable, labels=hidden[:, None], opinions=_opinions(shares, learnable.sizes))
    assert not ranks_better_than_fusion(known, known, [], settings, 0)
    assert not ranks_better_than_fusion(known, known, [learnable], settings, 0)
    # Or one source knows it that weighs nothing by itself: the fusion is calibrated too.
    shares[:, [name != "text" for name in SOURCES]] = 1 / 50
    told = replace(learnable, labels=hidden[:, None], opinions=_opinions(shares, learnable.sizes))
    assert not ranks_better_than_fusion(told, told, [learnable], settings, 0)


def test_some_requests_of_examples_are_all_of_theirs() -> None:
    sizes = np.array([2, 1, 3])
    column = np.arange(6, dtype=np.float32)
    width = len(feature_names(SOURCES))
    opinions = _opinions(np.tile(column[:, None], len(SOURCES)), sizes)
    every = Examples(np.tile(column[:, None], width), column[:, None], column, sizes, opinions)
    some = every.of(np.array([0, 2]))
    assert some.sizes.tolist() == [2, 3]
    assert some.opinions is not None
    assert some.requests.tolist() == [0, 0, 1, 1, 1]
    assert some.opinions.totals.tolist() == opinions.totals[[0, 2]].tolist()
    for kept in (some.labels[:, 0], some.weights, *some.opinions.shares.T, some.features[:, 0]):
        assert kept.tolist() == [0, 1, 3, 4, 5]
