"""What a training logs for TensorBoard, where `training.tensorboard` names a folder."""

from pathlib import Path

import trainer  # noqa: F401  (sets what TensorFlow reads when it is first imported)

# isort: split
import pytest
import tensorflow as tf

from tests.support import tiny_training as tiny

pytestmark = pytest.mark.slow


def losses_by_epoch(folder: Path) -> dict[int, float]:
    """Return the losses in all event files below `folder`."""
    files = [str(file) for file in folder.rglob("events.out.tfevents.*")]
    events = [
        tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(files)
    ]
    return {
        event.step: float(tf.make_ndarray(value.tensor))
        for event in events
        for value in event.summary.value
        if value.tag == "epoch_loss"
    }


def test_every_epoch_logs_its_loss(tmp_path: Path) -> None:
    model = tiny.tiny_model(epochs=2, transformer_layers=0, tensorboard=tmp_path / "logs")
    logged = losses_by_epoch(tmp_path / "logs")
    assert logged == pytest.approx(dict(enumerate(model.losses)))
