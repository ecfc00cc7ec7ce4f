"""Matrix factorisation, as the package `implicit` does it."""

from scipy import sparse

from trainer.baselines.decay import NoDecay
from trainer.baselines.scorer import Indices, Scores
from trainer.baselines.user_item import largest_weights
from trainer.interactions import Interactions


class ImplicitAls:
    """Alternating least squares on confidences (Hu, Koren and Volinsky, ICDM 2008).

    User-item pairs with an event in `past` have the confidence `confidence`, all others 1. A user
    is folded in by the least squares of the row of `histories` on `item_factors`, float32
    [num_items, factors].

    The package is a development dependency (https://github.com/benfred/implicit, MIT).

    Raises:
        ModuleNotFoundError: `implicit` is not installed.
    """

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        factors: int,
        regularisation: float,
        confidence: float,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        # Nothing else needs the packages.
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        self.name = f"implicit ALS, {factors} factors"
        histories = histories or past
        # The package runs threads of its own, and warns where BLAS does too.
        with threadpool_limits(limits=1, user_api="blas"):
            self._model = AlternatingLeastSquares(
                factors=factors,
                regularization=regularisation,
                alpha=confidence,
                iterations=iterations,
                random_state=seed,
            )
            learned = largest_weights(past, NoDecay().weights(past))
            self._model.fit(sparse.csr_matrix(learned), show_progress=False)
        self.item_factors: Scores = self._model.item_factors
        asked = largest_weights(histories, NoDecay().weights(histories))
        # The package takes matrices, not arrays.
        self._user_item = sparse.csr_matrix(asked)

    def score(self, users: Indices) -> Scores:
        """Return the dot products of the users' factors with the items'."""
        factors = self._model.recalculate_user(users, self._user_item[users])
        scores: Scores = factors @ self.item_factors.T
        return scores
