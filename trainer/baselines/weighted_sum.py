"""Several scorers as one."""

from collections.abc import Sequence

from trainer.baselines.scorer import FitScorer, Indices, Scores
from trainer.interactions import Interactions


class WeightedSum:
    """The weighted sum of the scores of `parts`, each fitted on the same past.

    Scores are added unscaled, since their scale carries information: the scores of a user with
    old events are small, and popularity, which is the same for all users, then comes first.

    Raises:
        ValueError: there are no parts.
    """

    def __init__(
        self,
        past: Interactions,
        histories: Interactions | None = None,
        *,
        name: str,
        parts: Sequence[tuple[FitScorer, float]],
    ) -> None:
        if not parts:
            raise ValueError("`parts` must hold at least one scorer. Received: none.")
        self.name = name
        self._parts = [(fit(past, histories or past), weight) for fit, weight in parts]

    def score(self, users: Indices) -> Scores:
        """Return the weighted sum of the parts' scores."""
        first, *others = self._parts
        total = first[0].score(users) * first[1]
        for scorer, weight in others:
            total += scorer.score(users) * weight
        return total
