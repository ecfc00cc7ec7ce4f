"""What a candidate adds by being unlike those before it. Embeddings are unit vectors."""

import numpy as np
import numpy.typing as npt

from serving.exact_index import dot_products

Embeddings = npt.NDArray[np.float32]

LEAST_VARIANCE = 1e-5
"""Below this a candidate is a mixture of those chosen, as far as float32 can tell."""


class MarginalRelevance:
    """Minus the greatest cosine to a chosen one. Carbonell and Goldstein, SIGIR 1998.

    embeddings: float32 [n, dim].
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        self._gains = np.ones(len(embeddings), dtype=np.float32)

    def gains(self) -> npt.NDArray[np.float32]:
        """Return float32 [n] in -1..1."""
        return self._gains

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        cosines = dot_products(self._embeddings, self._embeddings[candidate])
        np.minimum(self._gains, -cosines, out=self._gains)


class DeterminantalGain:
    """The logarithm by which a candidate multiplies the determinant of the chosen ones' kernel.

    The kernel is (1 + cosine) / 2: its determinant is the squared volume that the list spans.
    Greedy MAP inference by an incremental Cholesky factorisation: Chen, Zhang and Zhou, "Fast
    Greedy MAP Inference for Determinantal Point Process", NeurIPS 2018, algorithm 1.

    embeddings: float32 [n, dim]; count: how many will be chosen at most.
    """

    def __init__(self, embeddings: Embeddings, count: int) -> None:
        self._embeddings = embeddings
        # factor[place, i]: row `place` of the Cholesky factor, continued by candidate i.
        self._factor = np.empty((min(count, len(embeddings)), len(embeddings)), np.float32)
        self._chosen = 0
        # What of each candidate the chosen ones do not explain; at first its own kernel value.
        self._variance = np.ones(len(embeddings), np.float32)

    def gains(self) -> npt.NDArray[np.float32]:
        """Return float32 [n], at most 0."""
        gains: npt.NDArray[np.float32] = np.log(np.maximum(self._variance, LEAST_VARIANCE))
        return gains

    def choose(self, candidate: int) -> None:
        """Give the next place to a candidate."""
        if self._variance[candidate] <= LEAST_VARIANCE:
            return  # It adds no direction, and so takes nothing from the others.
        row = self._factor[self._chosen]
        # In place: a list of 20 does this 20 times, and has a millisecond for all.
        np.add(dot_products(self._embeddings, self._embeddings[candidate]), 1.0, out=row)
        row *= 0.5
        before = self._factor[: self._chosen]
        row -= np.einsum("kn,k->n", before, before[:, candidate])
        row /= np.sqrt(self._variance[candidate])
        self._chosen += 1
        self._variance -= row * row
