"""The training windows as a `tf.data.Dataset`."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.windows import Batch, Windows, sample_batch


def epoch_dataset(
    interactions: Interactions, windows: Windows, settings: TrainingSettings, epoch: int
) -> Any:
    """Return the batches of one epoch, the columns of `trainer.windows.Batch` by name.

    Order and draws depend on the seed and the epoch alone, so that a training that resumes
    after an interrupt sees the same batches as one that was not interrupted.
    """

    def batches() -> Iterator[dict[str, Any]]:
        random = np.random.default_rng([settings.seed, epoch])
        for chosen in batches_of_like_length(windows, settings, random):
            yield _columns(sample_batch(interactions, windows, chosen, settings, random))

    nothing = np.zeros(0, np.int64)
    empty = sample_batch(interactions, windows, nothing, settings, np.random.default_rng(0))
    signature = {
        name: tf.TensorSpec([None] * column.ndim, column.dtype)
        for name, column in _columns(empty).items()
    }
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    options = tf.data.Options()
    # Every worker makes the same batches, and keeps its share of each.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    steps = num_steps(windows, settings)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.with_options(options).prefetch(2)


def batches_of_like_length(
    windows: Windows, settings: TrainingSettings, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Return the windows of each step, in random order; every window is in one step.

    Most histories are short and a few are long: in a batch with a long one, a short one would be
    mostly padding. So the windows of a step are about equally long, and all steps ask about the
    same number of positions, of few long windows or of many short ones.
    """
    lengths = windows.end - windows.start
    order = np.lexsort((random.random(len(windows)), lengths))
    asked = np.minimum(np.diff(windows.first_cut), settings.positions_per_window)[order]
    # Replicas get equal shares of a step whose size is a multiple of their number.
    unit = next(size for size in (8, 4, 2, 1) if size <= settings.batch_size)
    blocks = np.add.reduceat(asked, np.arange(0, len(asked), unit))
    steps, before = num_steps(windows, settings), np.cumsum(blocks) - blocks
    number = np.arange(1, steps)
    starts = np.searchsorted(before, number * asked.sum() / steps)
    # However many positions one block asks for, no step is left without a block.
    starts = np.maximum.accumulate(np.maximum(starts - number, 0)) + number
    starts = np.minimum(starts, len(blocks) - steps + number)
    parts = np.split(order, starts * unit)
    return [parts[number] for number in random.permutation(steps)]


def num_steps(windows: Windows, settings: TrainingSettings) -> int:
    """Return the number of steps of an epoch: of `batch_size` windows each, on average."""
    return -(-len(windows) // settings.batch_size)


def _columns(batch: Batch) -> dict[str, Any]:
    return {field.name: getattr(batch, field.name) for field in fields(batch)}
