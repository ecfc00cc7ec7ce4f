"""The candidate embeddings of this moment: where the tower puts items, moved by fold-in."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from serving.candidate_space import CandidateSpace
from streaming import fold_in
from streaming.learner import ItemState
from streaming.settings import FoldInSettings

Vectors = npt.NDArray[np.float32]


class MovedEmbeddings:
    """Moves what an encoder returns toward those who acted on the items since."""

    def __init__(
        self,
        state: ItemState,
        space: Callable[[], CandidateSpace | None],
        settings: FoldInSettings,
    ) -> None:
        self._state = state
        self._space = space
        self._settings = settings

    def move(self, bundle_version: str, item_ids: Sequence[str], embeddings: Vectors) -> Vectors:
        """Return embeddings float32 [n, dimension] of the bundle's space, moved.

        Only tastes move: how popular an item is now is what trends, and not for fold-in to say.
        """
        space = self._space()
        if not self._settings.prior or space is None or space.bundle_version != bundle_version:
            return embeddings
        sums = self._state.fold_in(item_ids)
        moved = embeddings.copy()
        for row, item_id in enumerate(item_ids):
            own = sums.get(item_id)
            if own is None or own.bundle_version != bundle_version:
                continue
            prior = self._settings.prior
            prior += self._settings.trained_prior * space.counts.get(item_id, 0)
            moved[row, : space.num_tastes] = fold_in.moved(
                embeddings[row, : space.num_tastes], prior, own, space.taste_length
            )
        return moved
