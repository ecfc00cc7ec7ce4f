"""Whether a training has come to weights that are numbers."""

import numpy as np

from trainer.import_keras import keras


def has_finite_weights(model: keras.Model) -> bool:
    """Return whether all that a training changes by its gradients is finite.

    What a layer has been told of the data does not count: no learning rate is at fault there.
    """
    return all(np.isfinite(np.asarray(weight)).all() for weight in model.trainable_weights)
