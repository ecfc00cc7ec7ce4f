"""From a request to a ranked list."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
