"""Where training runs: one device, the GPUs of a machine, or a TPU."""

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
        TrainingInputError: `TF_CONFIG` names more than one worker.
    """
    match settings.strategy:
        case "default":
            return tf.distribute.get_strategy()
        case "mirrored":
            return _all_devices()
        case "multi_worker_mirrored":
            return _one_worker()
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
def _one_worker() -> Any:
    """Return the cluster's strategy. A process can join a cluster only once."""
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    workers = sum(cluster.num_tasks(job) for job in cluster.jobs if job in ("chief", "worker"))
    if workers > 1:
        raise TrainingInputError(
            "`training.strategy` 'multi_worker_mirrored' trains with one worker: each of several "
            "would judge the model, choose its epochs and publish a bundle by itself. "
            f"Received {workers} workers in TF_CONFIG."
        )
    return tf.distribute.MultiWorkerMirroredStrategy()
