"""The ranker: a small network from the features of a candidate to a score."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from feature_repo.whole_file import replacing
from serving.ranking.feature_names import feature_names
from serving.ranking.ranker import DenseLayer, Ranker
from serving.source_names import SOURCES
from trainer.finite_weights import has_finite_weights
from trainer.import_keras import keras
from trainer.ranking.examples import Examples
from trainer.ranking.listwise import fit_lists
from trainer.ranking.objectives import ANY
from trainer.ranking.settings import RankerSettings
from trainer.training_input_error import TrainingInputError

Floats = npt.NDArray[np.float32]

ENOUGH_CANDIDATES, MOST_EPOCHS = 8_000_000, 40
"""Where there are fewer to learn from, epochs are added until it has seen so many, up to a limit.

On a sample shop of 848 users eight epochs, 3.8 million candidates, left the list worse than the
two-tower alone; forty made it better than any other. UCI Online Retail has a million candidates.
"""

OBJECTIVES = "objectives"
"""Of the file's metadata: the objectives in their order, and what each is worth, as JSON."""

LOGITS = "logits"
"""The layer that says of each objective how probable it is."""

BOUNDLESS = np.float32(1e30)
"""A variance beside which every value is 0."""


def train_ranker(examples: Examples, settings: RankerSettings, seed: int = 0) -> keras.Model:
    """Return a model from features float32 [n, num_features] to scores float32 [n].

    One network learns all objectives of the examples, each with a logit of its own, the logarithm
    of how probably the user does that with the candidate: of each candidate by itself, where the
    loss is "pointwise"; up to a constant of the list, where it is "listwise". A candidate's score
    is the logarithm of the sum of these probabilities, each times what it is worth beside the
    dearest.

    Raises:
        TrainingInputError: its weights are not numbers any more.
    """
    keras.utils.set_random_seed(seed)
    model = blank_ranker(settings, examples.objectives)
    logits = keras.Model(model.inputs, model.get_layer(LOGITS).output)
    _adapt(model.get_layer("normalization"), examples.features)
    enough = min(-(-ENOUGH_CANDIDATES // max(1, len(examples.labels))), MOST_EPOCHS)
    epochs = max(settings.epochs, enough)
    steps = epochs * -(-len(examples.labels) // settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    if settings.loss == "listwise":
        random = np.random.default_rng(seed)
        fit_lists(logits, optimizer, examples, epochs, settings.batch_size, random)
    else:
        # Nor is XLA asked for where there is a GPU, as in the two-tower's training.
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        logits.compile(optimizer, loss, jit_compile=False)
        weights = weights_of_candidates(examples)
        logits.fit(
            examples.features,
            examples.labels,
            sample_weight=weights / weights.mean(),
            batch_size=settings.batch_size,
            epochs=epochs,
            verbose=0,
        )
    if not has_finite_weights(model):
        raise TrainingInputError(
            "the ranker's weights are not numbers any more: lower "
            f"`training.ranking.learning_rate`. Received: {settings.learning_rate}."
        )
    return model


def weights_of_candidates(examples: Examples) -> Floats:
    """Return what each candidate weighs where it is learned of by itself, float32 [n].

    What was acted on in a request weighs together what the request does, as by lists.
    """
    found = np.bincount(examples.requests[examples.worth > 0], minlength=examples.num_requests)
    share = 1 / np.maximum(found, 1)
    return (examples.weights * share[examples.requests]).astype(np.float32)


def _adapt(normalization: keras.layers.Normalization, features: Floats) -> None:
    """Scale features by their spread; one that is the same in all examples says nothing.

    It has taught nothing. Divided by a spread of 0, its first other value would drown all others.
    """
    normalization.adapt(features)
    constant = features.min(axis=0) == features.max(axis=0)
    normalization.adapt_variance.assign(np.where(constant, BOUNDLESS, features.var(axis=0)))
    normalization.finalize_state()


def as_ranker(model: keras.Model) -> Ranker:
    """Return a trained model as the service calls a bundle's."""
    return Ranker(SOURCES, dense_layers(model), objectives_of_ranker(model))


def objectives_of_ranker(model: keras.Model) -> Mapping[str, float]:
    """Return what each objective of a model is worth to it."""
    worth: Mapping[str, float] = model.layers[-1].objectives
    return worth


def dense_layers(model: keras.Model) -> tuple[DenseLayer, ...]:
    """Return a trained model's matrices. The first takes features as they are.

    What normalises them is linear too, and is multiplied into it. What objectives are worth is
    added to the last.
    """
    normalization = model.get_layer("normalization")
    mean, variance = (
        np.ravel(np.asarray(each, np.float64))
        for each in (normalization.mean, normalization.variance)
    )
    scale = 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon())
    first, *others = [
        [np.asarray(weight, np.float64) for weight in layer.get_weights()]
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense)
    ]
    kernel = first[0] * scale[:, None]
    *hidden, (last, bias) = [(kernel, first[1] - mean @ kernel), *others]
    layers = [*hidden, (last, bias + np.asarray(model.layers[-1].logarithms, np.float64))]
    return tuple(
        DenseLayer(kernel.astype(np.float32), bias.astype(np.float32)) for kernel, bias in layers
    )


class _Worth(keras.layers.Layer):
    """From the logits of objectives, [n, num_objectives], to the scores [n] of candidates."""

    def __init__(self, objectives: Mapping[str, float]) -> None:
        super().__init__(name="worth")
        self.objectives = objectives

    def build(self, input_shape: Any) -> None:
        worths = np.array([*self.objectives.values()], np.float32)
        # Beside the dearest: where there is one objective alone, it is the score.
        logarithms = np.log(worths / worths.max())
        self.logarithms = self.add_weight(
            shape=logarithms.shape,
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(logarithms, dtype),
            trainable=False,
            name="logarithms",
        )

    def call(self, logits: Any) -> Any:
        return keras.ops.logsumexp(logits + self.logarithms, axis=-1)


def blank_ranker(settings: RankerSettings, objectives: Mapping[str, float] = ANY) -> keras.Model:
    """Return an untrained model, to load weights into."""
    normalization = keras.layers.Normalization(name="normalization")
    num_features = len(feature_names(SOURCES))
    inputs = keras.Input((num_features,), name="features")
    hidden = normalization(inputs)
    for units in settings.hidden_units:
        hidden = keras.layers.Dense(units, "relu")(hidden)
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    logits = keras.layers.Dense(len(objectives), name=LOGITS)(hidden)
    return keras.Model(inputs, _Worth(objectives)(logits), name="ranker")


def write_ranker(model: keras.Model, file: Path) -> None:
    """Write the weights of `model`, and what its objectives are worth, as a whole."""
    arrays = {str(number): np.asarray(each) for number, each in enumerate(model.get_weights())}
    worth = orjson.dumps(dict(objectives_of_ranker(model))).decode()
    with replacing(file) as unfinished:
        save_file(arrays, unfinished, {OBJECTIVES: worth})


def read_ranker(file: Path, settings: RankerSettings) -> keras.Model:
    """Return the model that `write_ranker` wrote, whose settings were these."""
    with safe_open(file, "numpy") as opened:
        objectives = orjson.loads(opened.metadata()[OBJECTIVES])
    model, weights = blank_ranker(settings, objectives), load_file(file)
    model.set_weights([weights[str(number)] for number in range(len(weights))])
    # It keeps what it computes by beside its weights.
    model.get_layer("normalization").finalize_state()
    return model
