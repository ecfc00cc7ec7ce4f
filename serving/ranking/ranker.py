"""The network that scores candidates by their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.candidates import Scores

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer:
    """kernel: float32 [num_inputs, num_units]. bias: float32 [num_units]."""

    kernel: Floats
    bias: Floats


class Ranker:
    """The bundle's network, from features float32 [n, num_features] to scores.

    The signature `rank` answers the same to other programs. A request multiplies the matrices
    itself: a call of TensorFlow takes three times as long, and hands the work to threads that
    wait for each other.

    sources: whose scores are among the features, in their order. layers: a rectifier follows
    each but the last, which has one unit.
    """

    def __init__(self, sources: tuple[str, ...], layers: Sequence[DenseLayer]) -> None:
        self.sources = sources
        self._layers = layers

    def score(self, features: Floats) -> Scores:
        """Return float32 [n]."""
        *hidden_layers, last = self._layers
        hidden = features
        for layer in hidden_layers:
            hidden = hidden @ layer.kernel
            hidden += layer.bias
            np.maximum(hidden, 0, out=hidden)
        scores: Scores = (hidden @ last.kernel + last.bias)[:, 0]
        return scores
