"""The command, the settings root, the client and the composition roots."""

import os

# Read once by TensorFlow at its first import, which any command may trigger.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"
