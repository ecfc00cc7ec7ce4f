"""Trainings without graphs, for tests of what is done around a training."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod

import pytest

from trainer.import_keras import keras


@contextmanager
def step_by_step() -> Iterator[None]:
    """Let Keras run each step of a training by itself, in this block.

    Of a few steps, tracing a graph takes several times as long.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Model, "compile", partialmethod(keras.Model.compile, run_eagerly=True))
        yield
