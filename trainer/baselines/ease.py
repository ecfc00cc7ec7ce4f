"""EASE: the item-item regression that shallow and deep models must beat."""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import lapack

from trainer.baselines.decay import Decay, NoDecay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions
from trainer.training_input_error import TrainingInputError


class Ease:
    """Each item explained by the others, in closed form (Steck, WWW 2019, arXiv:1905.03375).

    The item weights B minimise |X - X B|^2 + regularisation |B|^2 under a diagonal of 0. X holds
    the events of `past`, weighted by the decay `learned`. Scores are a user's row of
    `histories`, weighted by the decay `asked`, times B: without decays this is the paper's EASE.
    No item adds to its own score: an item that the user has acted on scores by the user's others.

    Needs memory for 3 float32 matrices [num_items, num_items] at its peak, keeps one, and inverts
    one, which is num_items^3 multiplications.

    Raises:
        ValueError: `regularisation` is not positive.
    """

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        regularisation: float,
        learned: Decay | None = None,
        asked: Decay | None = None,
        name: str | None = None,
    ) -> None:
        if regularisation <= 0:
            raise ValueError(f"`regularisation` must be positive. Received: {regularisation}.")
        self.name = name or f"EASE, lambda {regularisation:g}"
        histories = histories or past
        weights = (learned or NoDecay()).weights(past)
        self._item_weights = item_weights(largest_weights(past, weights), regularisation)
        self._user_item = largest_weights(histories, (asked or NoDecay()).weights(histories))

    def score(self, users: Indices) -> Scores:
        """Return the users' rows times the item weights."""
        scores: Scores = self._user_item[users] @ self._item_weights
        return scores


def item_weights(user_item: sparse.csr_array, regularisation: float) -> npt.NDArray[np.float32]:
    """Return B, float32 [num_items, num_items], of user_item float32 [num_users, num_items].

    Raises:
        TrainingInputError: `regularisation` is too small for single precision.
    """
    gram = (user_item.T @ user_item).toarray(order="F")
    diagonal = np.arange(len(gram))
    gram[diagonal, diagonal] += regularisation
    # Symmetric and positive definite: Cholesky takes half the time of a general inverse.
    factor, failed = lapack.spotrf(gram, overwrite_a=True)
    inverse, also_failed = lapack.spotri(factor, overwrite_c=True)
    if failed or also_failed:
        raise TrainingInputError(
            "`regularisation` of EASE is too small for single precision. Received: "
            f"{regularisation} for {len(gram)} items."
        )
    # LAPACK gives the upper triangle by columns; a sparse product reads rows.
    weights: npt.NDArray[np.float32] = np.tril(inverse.T)
    weights += np.tril(inverse.T, -1).T
    weights /= -weights[diagonal, diagonal]
    weights[diagonal, diagonal] = 0
    return weights
