"""What a bundle says of its candidates as a whole, besides the embedding of each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.bundle import Bundle
from serving.exact_index import dot_products


@dataclass(frozen=True, slots=True, eq=False)
class CandidateSpace:
    """The scale of one bundle's candidates, and how well training knew each.

    num_tastes: that many first coordinates of an embedding tell items apart; one of popularity
    may follow. taste_length: the median norm of the candidates' tastes. counts: the events
    that training saw, by item; an item that is missing was not in training.
    """

    bundle_version: str
    num_tastes: int
    taste_length: float
    counts: Mapping[str, int]

    @classmethod
    def of(cls, bundle: Bundle) -> "CandidateSpace":
        """Measure the candidates of `bundle`."""
        num_tastes = bundle.manifest.dimension - int(bundle.manifest.popularity_coordinate)
        norms = np.linalg.norm(bundle.candidate_embeddings[:, :num_tastes], axis=1)
        counts = dict(zip(bundle.candidate_ids, bundle.candidate_counts.tolist(), strict=True))
        length = float(np.median(norms)) if len(norms) else 1.0
        return cls(bundle.version, num_tastes, length, counts)

    def tastes(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the tastes of embeddings float32 [n, dimension] as unit vectors.

        That is all but the coordinate of popularity, where the bundle has one: two items are
        not alike for both being popular.
        """
        kept, norms = self._kept(embeddings)
        return (kept / norms[:, None]).astype(np.float32, copy=False)

    def cosines(
        self, embeddings: npt.NDArray[np.float32], taste: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return float32 [n], how near the tastes of embeddings are to a unit one [num_tastes]."""
        kept, norms = self._kept(embeddings)
        # In a matrix product the last bits of equal rows depend on how many rows it has.
        return dot_products(kept, taste) / norms

    def _kept(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        kept = embeddings[:, : self.num_tastes]
        # `np.linalg.norm` takes twice as long for a few hundred rows.
        norms = np.sqrt(np.einsum("ij,ij->i", kept, kept))
        return kept, np.where(norms > 0, norms, np.float32(1))
