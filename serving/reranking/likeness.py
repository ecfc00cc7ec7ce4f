"""How alike the candidates of a list are: who likes them, and what they say of themselves."""

import numpy as np
import numpy.typing as npt

from serving.exact_index import dot_products
from serving.item_rows import UNKNOWN, Rows
from serving.ranking.item_neighbours import ItemNeighbours

TEXT_SHARE = 0.3
"""What the texts' cosine counts, the other part being that of tastes. Chosen with `diversity`."""


class Likeness:
    """Cosines of n candidates to one of them, -1..1.

    tastes: float32 [n, dim], unit vectors. rows: int64 [n], distinct. texts: the bundle's table of
    like texts, None where it has none; what is not on a candidate's list there has another text.
    """

    def __init__(
        self, tastes: npt.NDArray[np.float32], rows: Rows, texts: ItemNeighbours | None = None
    ) -> None:
        self._tastes = tastes
        self._rows = rows
        self._texts = texts
        self._order = np.argsort(rows)
        # Behind the last stands what is no row, so that every place there is can be looked at.
        self._ascending = np.append(rows[self._order], UNKNOWN)

    def to(self, candidate: int) -> npt.NDArray[np.float32]:
        """Return float32 [n], a new array."""
        likeness = dot_products(self._tastes, self._tastes[candidate])
        if self._texts is None:
            return likeness
        likeness *= np.float32(1 - TEXT_SHARE)
        neighbours, cosines = self._texts.of(int(self._rows[candidate]))
        # Without `places_among`: a list of 20 does this 20 times, and has a millisecond for all.
        places = self._ascending[:-1].searchsorted(neighbours)
        found = (self._ascending[places] == neighbours).nonzero()[0]
        likeness[self._order[places[found]]] += np.float32(TEXT_SHARE) * cosines[found]
        likeness[candidate] += np.float32(TEXT_SHARE)  # No item is its own neighbour.
        return likeness
