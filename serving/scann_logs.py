"""Keeps ScaNN's notes on how a build gets on out of a process's standard error.

It writes them by Abseil, as two lines of another form than the service's own for each build. Abseil
is told by a function alone, of the copy that is linked into each library.
"""

import ctypes
import os
from functools import cache
from pathlib import Path

import scann
import tensorflow as tf

_ERROR = 2
_SET_MIN_LOG_LEVEL = "_ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE"
"""`absl::SetMinLogLevel` of the release that the locked TensorFlow and ScaNN are built with."""


@cache
def only_errors_of_scann() -> None:
    """Let ScaNN write errors alone; `TF_CPP_MIN_LOG_LEVEL=0` asks for all.

    What it warns of, as a partition that is empty, nobody can mend.

    Libraries that are built with another release of Abseil write on as they did.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    # The index is of the first; its TensorFlow operations find Abseil in the second.
    for library in (
        Path(scann.__file__).parent / "scann_ops/cc/python/scann_pybind.so",
        Path(tf.sysconfig.get_lib()) / "libtensorflow_cc.so.2",
    ):
        function = getattr(ctypes.CDLL(str(library)), _SET_MIN_LOG_LEVEL, None)
        if function is not None:
            function(_ERROR)
