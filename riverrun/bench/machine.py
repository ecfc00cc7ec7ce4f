"""What a figure was measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine(*, with_gpus: bool = False) -> str:
    """Return processor, usable cores, memory, Python and TensorFlow in one line.

    with_gpus: name those that TensorFlow sees too; it is imported for that.
    """
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpus = _gpus() if with_gpus else []
    return ", ".join(
        [
            f"{_processor()}, {cores} cores, {memory:.0f} GiB",
            *gpus,
            f"Python {platform.python_version()}, TensorFlow {version('tensorflow')}",
        ]
    )


def _gpus() -> list[str]:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu)["device_name"] for gpu in gpus]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
