"""Embeddings that a worker made with a bundle that this replica does not serve."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class WaitingEmbeddings:
    """For each item the embedding of its last change, where that is of another bundle.

    What a worker has folded into an embedding since it loaded a new bundle is in no bundle, and is
    published once: a replica that loads that bundle later finds it here. Bounded by the number of
    items. Not safe for use by two threads at once.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[str, Vectors]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, item_id: str, bundle_version: str, embedding: Vectors) -> None:
        """Keep an embedding float32 [n] in place of the item's earlier one."""
        self._waiting[item_id] = bundle_version, embedding

    def drop(self, item_ids: Iterable[str]) -> None:
        """Forget the embeddings of these items; one without is no error."""
        for item_id in item_ids:
            self._waiting.pop(item_id, None)

    def take(self, bundle_version: str, dimension: int) -> tuple[list[str], Vectors]:
        """Return items and their embeddings float32 [num_items, dimension] of one bundle.

        They are forgotten here, and so are embeddings of that bundle that have another dimension.
        """
        taken = {
            item_id: embedding
            for item_id, (version, embedding) in self._waiting.items()
            if version == bundle_version
        }
        self.drop(taken)
        taken = {key: each for key, each in taken.items() if each.shape == (dimension,)}
        embeddings = np.zeros((len(taken), dimension), dtype=np.float32)
        for row, embedding in enumerate(taken.values()):
            embeddings[row] = embedding
        return list(taken), embeddings
