"""Where training runs: one device, the GPUs of a machine, several machines, or a TPU."""

from functools import cache
from typing import Any

import tensorflow as tf

from trainer.settings import TrainingSettings
from trainer.training_input_error import TrainingInputError


def open_strategy(settings: TrainingSettings) -> Any:
    """Return the `tf.distribute.Strategy` of `settings.strategy`, always the same in a process.

    Variables belong to the strategy in whose scope they were made: another one, even of the same
    kind, cannot train them.

    `multi_worker_mirrored` reads the cluster from `TF_CONFIG`, `tpu` finds the TPU of the
    environment (https://www.tensorflow.org/guide/distributed_training). TensorFlow must know the
    cluster before it makes its first variable: a process that will train must open the strategy
    before it loads the text tower.

    Raises:
        TrainingInputError: `TF_CONFIG` names several workers, and this process has not joined them.
    """
    match settings.strategy:
        case "default":
            return tf.distribute.get_strategy()
        case "mirrored":
            return _all_devices()
        case "multi_worker_mirrored":
            if num_workers() > 1 and not join_cluster.cache_info().currsize:
                raise TrainingInputError(
                    f"TF_CONFIG names {num_workers()} workers, which train together only in "
                    "`riverrun train`, `refresh` and `evaluate`."
                )
            return join_cluster()
        case "tpu":
            return _tpu()


@cache
def _all_devices() -> Any:
    if gpus := tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy([device.name for device in gpus])
    # Between CPU devices of one process TensorFlow 2.20's collective operations have been
    # seen to crash, copying to a buffer that was gone (CollectiveRemoteAccessLocal).
    return tf.distribute.MirroredStrategy(
        [device.name for device in tf.config.list_logical_devices("CPU")],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


@cache
def _tpu() -> Any:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    # It clears the memory of the TPU, with all variables there are.
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


@cache
def join_cluster() -> Any:
    """Return the cluster's strategy, once all of its workers have joined.

    A process can join a cluster only once.
    """
    return tf.distribute.MultiWorkerMirroredStrategy()


def num_workers() -> int:
    """Return how many workers train together by `TF_CONFIG`; 1 where it is not set.

    Raises `TrainingInputError` where it cannot be read.
    """
    try:
        cluster = _this_process().cluster_spec()
    except (ValueError, TypeError) as error:
        raise TrainingInputError(f"TF_CONFIG cannot be read: {error}") from error
    return sum(cluster.num_tasks(job) for job in cluster.jobs if job in ("chief", "worker")) or 1


def is_chief() -> bool:
    """Return whether this process is the first of the workers in `TF_CONFIG`."""
    process = _this_process()
    first = "chief" if "chief" in process.cluster_spec().jobs else "worker"
    return (process.task_type or first, process.task_id or 0) == (first, 0)


def _this_process() -> Any:
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()
