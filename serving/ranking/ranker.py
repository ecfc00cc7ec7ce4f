"""The network that scores candidates by their features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.candidates import Scores

OTHERS = "*"
"""The objective of all types of event that no setting names."""

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
    each but the last, whose units say of each objective the logarithm of how probable it is, times
    what it is worth beside the others. objectives: what each is worth, more than 0; none where
    there is one unit.
    """

    def __init__(
        self,
        sources: tuple[str, ...],
        layers: Sequence[DenseLayer],
        objectives: Mapping[str, float] | None = None,
    ) -> None:
        self.sources = sources
        self.objectives = objectives or {}
        self._layers = layers

    def weighing(self, weights: Mapping[str, float]) -> "Ranker":
        """Return the ranker to which objectives are worth so much, more than 0.

        Those that are not named stay worth what they are.
        """
        worths = {name: weights.get(name, worth) for name, worth in self.objectives.items()}
        if worths == self.objectives:
            return self
        *hidden, last = self._layers
        before, now = (np.array([*each.values()]) for each in (self.objectives, worths))
        bias = (last.bias + np.log(now / before)).astype(np.float32)
        return Ranker(self.sources, [*hidden, DenseLayer(last.kernel, bias)], worths)

    def score(self, features: Floats) -> Scores:
        """Return float32 [n]."""
        *hidden_layers, last = self._layers
        hidden = features
        for layer in hidden_layers:
            hidden = hidden @ layer.kernel
            hidden += layer.bias
            np.maximum(hidden, 0, out=hidden)
        wanted = hidden @ last.kernel
        wanted += last.bias
        scores: Scores = wanted[:, 0] if wanted.shape[1] == 1 else _sums(wanted)
        return scores


def _sums(logarithms: Floats) -> Floats:
    """Return the logarithms of the rows' sums of what these are logarithms of, [n]."""
    largest = logarithms.max(axis=1, initial=-np.inf)
    sums: Floats = largest + np.log(np.exp(logarithms - largest[:, None]).sum(axis=1))
    return sums
