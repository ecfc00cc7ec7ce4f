"""ScaNN says nothing of its own on standard error while it builds an index."""

import os
import subprocess
import sys

import pytest

LIVE = """
from serving.scann_searcher import build_searcher
build_searcher(embeddings, neighbours=5, leaves=20, searched_leaves=5, sample_size=500, reordered=9)
"""
EXPORTED = """
from trainer.serving_module import _build_searcher
_build_searcher(embeddings, 5)
"""


@pytest.mark.parametrize("build", [LIVE, EXPORTED])
def test_a_build_writes_nothing_to_standard_error(build: str) -> None:
    embeddings = "import numpy as np\nembeddings = np.random.default_rng(0).normal(size=(500, 8))"
    code = f"{embeddings}.astype(np.float32)\n{build}"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=quiet
    )
    assert (done.returncode, done.stderr) == (0, "")
