"""No model is exported that TensorFlow Serving could not restore."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from serving.bundle import BundleError
from trainer.import_keras import keras
from trainer.model_export import _check_restored

pytestmark = pytest.mark.slow


class _TracksKeras(tf.Module):
    """As a bundle of an earlier Riverrun: of a Keras variable a copy is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = keras.layers.Dense(1)
        self.layer.build((None, 2))

    @tf.function(input_signature=[tf.TensorSpec([None, 2])])
    def call(self, x: Any) -> Any:
        return {"y": self.layer(x)}


def test_a_model_that_tensorflow_serving_cannot_restore_is_refused(tmp_path: Path) -> None:
    module = _TracksKeras()
    tf.saved_model.save(module, str(tmp_path), signatures=module.call)
    with pytest.raises(BundleError, match=r"saved_model\.pb.*'dense.*/(kernel|bias)'.*refresh"):
        _check_restored(tmp_path)
