"""The ranker: a small network from the features of a candidate to a score."""

import keras
import numpy as np
import numpy.typing as npt

from trainer.ranking.examples import Examples
from trainer.ranking.settings import RankerSettings


def train_ranker(
    examples: Examples, settings: RankerSettings, seed: int = 0
) -> keras.Model:
    """Return a model from features float32 [n, num_features] to scores float32 [n].

    A candidate's score is the logit of how probably it is acted on: cross-entropy on each
    candidate by itself, which on validation was better here than a softmax over each list.
    """
    keras.utils.set_random_seed(seed)
    num_features = examples.features.shape[1]
    normalization = keras.layers.Normalization()
    normalization.adapt(examples.features)
    inputs = keras.Input((num_features,), name="features")
    hidden = normalization(inputs)
    for units in settings.hidden_units:
        hidden = keras.layers.Dense(units, "relu")(hidden)
        hidden = keras.layers.Dropout(settings.dropout)(hidden)
    scores = keras.layers.Reshape(())(keras.layers.Dense(1)(hidden))
    model = keras.Model(inputs, scores, name="ranker")
    steps = settings.epochs * -(-len(examples.labels) // settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-4),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    weights = examples.weights / examples.weights.mean()
    model.fit(
        examples.features,
        examples.labels,
        sample_weight=weights,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        verbose=0,
    )
    return model


class RankerFunction:
    """A trained ranker as the service calls a bundle's."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def __call__(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return float32 [n]."""
        return np.asarray(self._model(features, training=False), dtype=np.float32)
