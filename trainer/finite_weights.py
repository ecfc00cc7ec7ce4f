"""Whether a training has come to weights that are numbers."""

from trainer.import_keras import keras


def has_finite_weights(model: keras.Model) -> bool:
    """Return whether all that a training changes by its gradients is finite.

    What a layer has been told of the data does not count: no learning rate is at fault there.
    """
    # On the device: tables of a large catalogue are not to be copied at every epoch.
    ops = keras.ops
    return all(bool(ops.all(ops.isfinite(weight))) for weight in model.trainable_weights)
