"""From the event archive to a published bundle."""

import os

# TFRS 0.7 is written for Keras 2; TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# How a person has set up Keras for work of their own is no part of a training: another backend, or
# numbers of 16 bits. It reads and writes its settings in this folder, where there is nothing.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = os.devnull
