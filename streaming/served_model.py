"""What the stream asks of the model that is served."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from serving.candidate_space import CandidateSpace
from serving.encoder import Encoder


class ServedModel(Protocol):
    """The model that is served now, in the thread of a worker.

    A swap of the bundle may come between any two questions: the answers name their bundle.
    """

    @property
    def encoder(self) -> Encoder | None:
        """The current bundle's encoder, None while there is none."""
        ...

    @property
    def space(self) -> CandidateSpace | None:
        """The scale of the bundle's candidates; while it is None no embedding moves."""
        ...

    def item(self, item_id: str) -> Item | None:
        """Return an item as the bundle has it, None for an unknown one.

        Items that were imported and never sent are there alone.
        """
        ...

    def has_embeddings(self, item_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [n], which of n items the encoder has embeddings of, for histories."""
        ...


class NoModel:
    """Stands for the model where nothing is to be embedded."""

    encoder = None
    space = None

    def item(self, item_id: str) -> None:
        """Return None: no item is known."""

    def has_embeddings(self, item_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [n], all False."""
        return np.zeros(len(item_ids), dtype=np.bool_)
