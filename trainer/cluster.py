"""How the chief of several workers tells the others what to do."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.settings import TrainingSettings
from trainer.strategy import is_chief, join_cluster, num_workers
from trainer.two_tower_model import TwoTowerModel
from trainer.worker_lost import WORKER_LOST, WorkerLost

_PIECE = 16 * 2**20
"""So many numbers of four bytes are sent at a time."""


def trains_together(settings: TrainingSettings) -> bool:
    """Return whether a training of these settings is that of several workers."""
    return settings.strategy == "multi_worker_mirrored" and num_workers() > 1


@contextmanager
def other_workers() -> Iterator[None]:
    """Raise `WorkerLost` where TensorFlow says in the block that another worker is gone."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if num_workers() == 1:
            raise
        raise WorkerLost(f"{WORKER_LOST}: see what it printed.") from error


def from_chief(value: Any) -> Any:
    """Return in every worker what the chief calls this with. All must call it, at the same point.

    It is pickled: workers trust each other, as TensorFlow's own protocol takes for granted.

    Raises `WorkerLost`.
    """
    sent = pickle.dumps(value) if is_chief() else b""
    with other_workers():
        size = int(_chiefs(np.array([len(sent)], np.int64).view(np.int32)).view(np.int64)[0])
        numbers = np.zeros(-(-size // 4), np.int32)
        numbers.view(np.uint8)[: len(sent)] = np.frombuffer(sent, np.uint8)
        for first in range(0, len(numbers), _PIECE):
            piece = numbers[first : first + _PIECE]
            piece[:] = _chiefs(piece)
    return value if is_chief() else pickle.loads(numbers.data)


def chiefs_state(model: TwoTowerModel, settings: TrainingSettings, epochs_done: int) -> int:
    """Give the model the state of the chief's in every worker; return the chief's `epochs_done`.

    model: compiled, with the variables of its optimizer built.
    """
    if not trains_together(settings):
        return epochs_done
    variables = [*model.variables, *model.optimizer.variables]
    values = [variable.numpy() for variable in variables] if is_chief() else None
    values, epochs_done = from_chief((values, epochs_done))
    if not is_chief():
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    return epochs_done


def _chiefs(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the chief's numbers, in a worker that gives as many of any kind."""
    chiefs: npt.NDArray[np.int32] = _sum()(numbers).numpy()
    return chiefs


@cache
def _sum() -> Any:
    """Return a function that sums int32 [n] over the workers, of which only the first gives any.

    TensorFlow's strategies have sums, and no broadcast.
    """
    strategy = join_cluster()

    def of_replica(numbers: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        is_first = replica.replica_id_in_sync_group == 0
        return replica.all_reduce("SUM", numbers if is_first else tf.zeros_like(numbers))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def summed(numbers: Any) -> Any:
        return strategy.experimental_local_results(strategy.run(of_replica, (numbers,)))[0]

    return summed
