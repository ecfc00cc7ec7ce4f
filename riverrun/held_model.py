"""The model that serves, as the stream asks for it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.schema import Item
from serving.candidate_space import CandidateSpace
from serving.catalogue import Catalogue
from serving.encoder import Encoder
from serving.live_model import ModelHolder


class HeldModel:
    """Implements `ServedModel` by whatever model `holder` has at the moment."""

    def __init__(self, holder: ModelHolder, catalogue: Catalogue) -> None:
        self._holder = holder
        self._catalogue = catalogue

    @property
    def encoder(self) -> Encoder:
        """The current bundle's encoder."""
        return self._holder.current.encoder

    @property
    def space(self) -> CandidateSpace:
        """The scale of the current bundle's candidates."""
        return self._holder.current.space

    def item(self, item_id: str) -> Item | None:
        """Return an item of the catalogue, or None."""
        return self._catalogue.get(item_id)

    def has_embeddings(self, item_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [n], which of them have an embedding."""
        return self._holder.current.table.has_embeddings(item_ids)
