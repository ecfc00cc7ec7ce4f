"""The command, the settings root, the client and the composition roots."""

import os

# Read once by TensorFlow at its first import, which any command may trigger.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# TensorFlow reports at level 2 that a machine has no GPU. What fails is raised as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
