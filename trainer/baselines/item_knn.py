"""Item-based collaborative filtering by cosine."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.baselines.decay import NoDecay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions

COSINES_AT_A_TIME = 8_000_000
"""About so many are in memory at a time: 96 MB. One user with all items makes num_items^2."""


class ItemKnn:
    """Sum over the user's items of their cosine with each item (Sarwar et al., WWW 2001).

    An item's cosine with itself counts, since a user may buy it again. The cosines are those of
    `past`, the users' items those of `histories` (default: the past's).
    """

    name = "item-kNN, cosine"

    def __init__(self, past: Interactions, histories: Interactions | None = None) -> None:
        histories = histories or past
        self._user_item = largest_weights(histories, NoDecay().weights(histories))
        self._cosines = Cosines(past)

    def score(self, users: Indices) -> Scores:
        """Return the users' rows times the cosines."""
        return self._cosines.summed(self._user_item[users]).astype(np.float32)


class Cosines:
    """The cosines of items' sets of users in the past, computed a part at a time."""

    def __init__(self, past: Interactions) -> None:
        # In float64, so that rounding neither makes ties nor breaks them.
        users = largest_weights(past, NoDecay().weights(past)).astype(np.float64)
        counts = np.asarray(users.sum(axis=0)).ravel()
        self._by_user = (users @ sparse.diags_array(1 / np.sqrt(np.maximum(counts, 1)))).tocsr()
        self._by_item = self._by_user.T.tocsr()
        # An upper bound for each item, reached if no two of its users share another item.
        per_user = np.diff(self._by_user.indptr)[self._by_item.indices]
        per_item = np.append(0, np.cumsum(per_user))[self._by_item.indptr]
        self._most = np.minimum(np.diff(per_item), len(counts))

    def of(self, items: npt.NDArray[np.integer]) -> sparse.csr_array:
        """Return float64 [len(items), num_items], the cosines of these items with all."""
        cosines: sparse.csr_array = self._by_item[items] @ self._by_user
        return cosines

    def parts(
        self, items: npt.NDArray[np.integer]
    ) -> Iterator[tuple[npt.NDArray[np.integer], sparse.csr_array]]:
        """Yield parts of `items`, in order, and what `of` returns of them."""
        number = np.cumsum(self._most[items]) // COSINES_AT_A_TIME
        for part in np.split(items, np.flatnonzero(np.diff(number)) + 1):
            yield part, self.of(part)

    def summed(self, user_item: sparse.csr_array) -> npt.NDArray[np.float64]:
        """Return `user_item` [n, num_items] times all cosines, float64 [n, num_items]."""
        sums = np.zeros(user_item.shape, np.float64)
        by_item = user_item.astype(np.float64).tocsc()
        for part, cosines in self.parts(np.unique(user_item.indices)):
            sums += (by_item[:, part] @ cosines).toarray()
        return sums
