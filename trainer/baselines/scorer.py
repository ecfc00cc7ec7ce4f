"""What every evaluation compares: something that is fitted on a past and scores all items."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

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


FitScorer: TypeAlias = Callable[[Interactions, Interactions], Scorer]
"""From a split's `past`, to fit on, and its `histories`, to score: a class below, its
hyper-parameters bound, or whatever else trains a recommender."""
