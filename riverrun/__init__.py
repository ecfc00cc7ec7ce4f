"""The command, the settings root, the client and the composition roots."""

import os

# Read once by TensorFlow at its first import, which any command may trigger.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# At level 2 TensorFlow reports that a machine has no GPU. Failures are raised as exceptions anyway.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# By default TensorFlow takes all of a GPU's memory: a training could not start beside a server.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

__version__ = "0.2.0"
"""The only place of the version: pyproject.toml reads it from here."""
