"""What every evaluation compares: something that is fitted on a past and scores all items."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from trainer.interactions import Interactions

Scores = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


class Scorer(Protocol):
    """Anything that gives every item of a split's catalogue a score for each of its users."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    def score(self, users: Indices) -> Scores:
        """Return float32 [len(users), num_items] for indices into `Split.histories.user_ids`.

        The array is the caller's to write into.
        """
        ...


@runtime_checkable
class ListScorer(Scorer, Protocol):
    """A scorer that picks candidates before it ranks: excluded items must not be among them."""

    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores:
        """Score as `score` does where the items `excluded`, int64 indices by user, are hidden."""
        ...


def scores_without(scorer: Scorer, users: Indices, excluded: Sequence[Indices]) -> Scores:
    """Return the scorer's scores; ignore those of the items `excluded`, indices by user."""
    if isinstance(scorer, ListScorer):
        return scorer.score_without(users, excluded)
    return scorer.score(users)


FitScorer: TypeAlias = Callable[[Interactions, Interactions], Scorer]
"""Makes a scorer of a split's `past`, to fit on, and its `histories`, to score: a baseline's class
with its hyper-parameters bound, or anything else that trains a recommender."""
