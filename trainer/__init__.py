"""From the event archive to a published bundle."""

import os

# TFRS 0.7 is written for Keras 2; TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
