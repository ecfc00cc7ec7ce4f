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
    """A scorer of lists made of candidates, among which what is excluded takes no place."""

    def score_without(self, users: Indices, excluded: Sequence[Indices]) -> Scores:
        """As `score`, where the items `excluded`, int64 indices by user, may not be shown."""
        ...


def scores_without(scorer: Scorer, users: Indices, excluded: Sequence[Indices]) -> Scores:
    """Return the scorer's scores; those of `excluded`, item indices by user, mean nothing."""
    if isinstance(scorer, ListScorer):
        return scorer.score_without(users, excluded)
    return scorer.score(users)


FitScorer: TypeAlias = Callable[[Interactions, Interactions], Scorer]
"""From a split's `past`, to fit on, and its `histories`, to score: a class below, its
hyper-parameters bound, or whatever else trains a recommender."""
