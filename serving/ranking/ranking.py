"""What a bundle has for ranking, over the live rows of the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.candidates import Scores
from serving.ranking.item_neighbours import ItemNeighbours
from serving.ranking.item_signals import ItemSignals


class Ranker:
    """The bundle's `rank` signature, called with features float32 [n, num_features].

    sources: whose scores are among the features, in their order.
    """

    def __init__(self, sources: tuple[str, ...], function: Any) -> None:
        self.sources = sources
        self._function = function

    def score(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return float32 [n]."""
        scores: Scores = np.asarray(self._function(features=features)["scores"], np.float32)
        return scores


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Tables of neighbours by the source that reads them, signals, and the ranker if it has one."""

    neighbours: Mapping[str, ItemNeighbours]
    signals: ItemSignals
    ranker: Ranker | None = None
