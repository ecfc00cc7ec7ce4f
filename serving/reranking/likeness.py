"""How alike the candidates of a list are: who likes them, and what they say of themselves."""

import math

import numpy as np
import numpy.typing as npt

from serving.exact_index import dot_products
from serving.item_rows import Rows
from serving.signals.item_neighbours import ItemNeighbours

TEXT_SHARE = 0.3
"""What the texts' cosine counts, the other part being that of tastes. Chosen with `diversity`."""

_BLOCK = 32
"""BLAS multiplies so many numbers at once, and what is left over one by one: of 127 the last 31
take as long as the others."""


class Likeness:
    """Cosines of n candidates to one of them, -1..1.

    tastes: float32 [n, dim], unit vectors. rows: int64 [n], distinct. texts: the bundle's table of
    similar texts, None where it has none; the cosine of two texts that it does not name is taken
    as 0.
    """

    def __init__(
        self, tastes: npt.NDArray[np.float32], rows: Rows, texts: ItemNeighbours | None = None
    ) -> None:
        count, dimension = tastes.shape
        # One place more, behind the last candidate: that of every row that is no candidate.
        blocks = math.ceil(dimension / _BLOCK)
        self._tastes = np.zeros((count + 1, blocks * _BLOCK), dtype=np.float32)
        self._tastes[:count, :dimension] = tastes
        self._rows = rows
        self._texts = texts
        if texts is not None:
            num_rows = max(texts.num_rows, int(rows.max(initial=0)) + 1)
            self._place_of = np.full(num_rows, count, dtype=np.int32)
            self._place_of[rows] = np.arange(count)

    def to(self, candidate: int) -> npt.NDArray[np.float32]:
        """Return float32 [n], a new array."""
        likeness = dot_products(self._tastes, self._tastes[candidate])
        if self._texts is not None:
            likeness *= np.float32(1 - TEXT_SHARE)
            neighbours, cosines = self._texts.of(int(self._rows[candidate]))
            likeness[self._place_of[neighbours]] += np.float32(TEXT_SHARE) * cosines
            likeness[candidate] += np.float32(TEXT_SHARE)  # No item is its own neighbour.
        return likeness[:-1]
