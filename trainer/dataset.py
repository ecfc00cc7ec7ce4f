"""The training windows as a `tf.data.Dataset`."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.windows import Batch, Windows, sample_batch


def epoch_dataset(
    interactions: Interactions, windows: Windows, settings: TrainingSettings, epoch: int
) -> Any:
    """Return the batches of one epoch, the columns of `trainer.windows.Batch` by name.

    Order and draws follow from the seed and the epoch alone, so that a training that resumes
    after an interrupt sees what it would have seen without one.
    """

    def batches() -> Iterator[dict[str, Any]]:
        random = np.random.default_rng([settings.seed, epoch])
        order = random.permutation(len(windows))
        for start in range(0, len(order), settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            yield _columns(sample_batch(interactions, windows, chosen, settings, random))

    signature = {
        name: tf.TensorSpec([None, *column.shape[1:]], column.dtype)
        for name, column in _columns(_empty_batch(settings)).items()
    }
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    options = tf.data.Options()
    # Nothing to shard by file: every worker draws its own windows.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    steps = -(-len(windows) // settings.batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.with_options(options).prefetch(2)


def _columns(batch: Batch) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def _empty_batch(settings: TrainingSettings) -> Batch:
    length, positions = settings.history_length, settings.positions_per_window
    labels = (0, positions, settings.labels_per_position)
    return Batch(
        items=np.zeros((0, length), np.int32),
        event_types=np.zeros((0, length), np.int32),
        timestamps=np.zeros((0, length), np.int64),
        positions=np.zeros((0, positions), np.int32),
        labels=np.zeros(labels, np.int32),
        weights=np.zeros(labels, np.float32),
        searched=np.zeros((0, positions), np.int32),
        reference_time=np.zeros(0, np.int64),
    )
