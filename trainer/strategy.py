"""Where training runs: one device, the GPUs of a machine, a TPU, or several machines."""

from typing import Any

import tensorflow as tf

from trainer.settings import TrainingSettings


def open_strategy(settings: TrainingSettings) -> Any:
    """Return the `tf.distribute.Strategy` of `settings.strategy`.

    `multi_worker_mirrored` reads the cluster from `TF_CONFIG`, `tpu` finds the TPU of the
    environment (https://www.tensorflow.org/guide/distributed_training).
    """
    match settings.strategy:
        case "default":
            return tf.distribute.get_strategy()
        case "mirrored":
            if gpus := tf.config.list_logical_devices("GPU"):
                return tf.distribute.MirroredStrategy([device.name for device in gpus])
            # Between CPU devices of one process TensorFlow 2.20's collective operations have been
            # seen to crash, copying to a buffer that was gone (CollectiveRemoteAccessLocal).
            return tf.distribute.MirroredStrategy(
                [device.name for device in tf.config.list_logical_devices("CPU")],
                cross_device_ops=tf.distribute.ReductionToOneDevice(),
            )
        case "multi_worker_mirrored":
            return tf.distribute.MultiWorkerMirroredStrategy()
        case "tpu":
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
