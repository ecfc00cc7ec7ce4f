"""What the sources say of the candidates of many requests, as the fusion reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.ranking.calibrated_fusion import Fusion
from serving.ranking.fusion import log_total
from serving.ranking.pool import Pool
from serving.ranking.ranking_stage import RankingStage

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

TEMPERATURES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""The temperatures of the two-tower's scores, from which one is chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class Opinions:
    """What is said of some candidates of each request, computed over all that the request had.

    shares: float32 [n, len(SOURCES)], as `fusion.shares`. two_tower: float32 [n], its scores.
    fusible: float32 [n, len(SOURCES)], what a fusion by ranks or votes adds up by weight; None of
    a mixture. silent: bool [num_requests, len(SOURCES)], which sources have no shares, so that the
    mixture gives theirs to the two-tower; that itself is one of them. totals: float64
    [num_requests, len(TEMPERATURES)], for each temperature what makes a softmax of `two_tower`
    (`fusion.log_total`). Which request a candidate is of, the examples know.
    """

    shares: Floats
    two_tower: Floats
    fusible: Floats | None
    silent: npt.NDArray[np.bool_]
    totals: npt.NDArray[np.float64]

    @classmethod
    def of_pool(cls, stage: RankingStage, pool: Pool) -> "Opinions":
        """Return what is said of the candidates of one request."""
        shares, fusible = pool.shares(), stage.fusible(pool)
        two_tower = pool.scores_of(stage.two_tower.name)
        return cls(
            shares.astype(np.float32),
            two_tower,
            None if fusible is None else fusible.astype(np.float32),
            (shares == 0).all(axis=0, keepdims=True),
            np.array([[log_total(two_tower.astype(np.float64) / each) for each in TEMPERATURES]]),
        )

    @classmethod
    def joined(cls, parts: Sequence["Opinions"]) -> "Opinions":
        """Return the opinions of all parts, at least one."""
        fusible = [part.fusible for part in parts if part.fusible is not None]
        return cls(
            np.concatenate([part.shares for part in parts]),
            np.concatenate([part.two_tower for part in parts]),
            np.concatenate(fusible) if fusible else None,
            np.concatenate([part.silent for part in parts]),
            np.concatenate([part.totals for part in parts]),
        )

    def at(self, rows: Indices, requests: Indices) -> "Opinions":
        """Return those on the candidates in these rows, which are of these requests."""
        return Opinions(
            self.shares[rows],
            self.two_tower[rows],
            None if self.fusible is None else self.fusible[rows],
            self.silent[requests],
            self.totals[requests],
        )

    def probabilities(
        self, temperature: float, rows: Indices, requests: Indices
    ) -> npt.NDArray[np.float64]:
        """Return float64 [len(rows), len(SOURCES)], how probable each source holds candidates.

        Where it is silent, how probable the two-tower holds them. temperature: of `TEMPERATURES`.
        requests: int64 [len(rows)], the request of each candidate.
        """
        totals = self.totals[requests, TEMPERATURES.index(temperature)]
        two_tower = np.exp(self.two_tower[rows].astype(np.float64) / temperature - totals)
        return np.where(self.silent[requests], two_tower[:, None], self.shares[rows])

    def fused(self, fusion: Fusion, requests: Indices) -> Floats:
        """Return float32 [n], by what the fusion orders candidates; requests: that of each."""
        if self.fusible is not None:
            return (self.fusible @ fusion.weights).astype(np.float32)
        every = np.arange(len(self.two_tower))
        opinions = self.probabilities(fusion.temperature, every, requests)
        return (opinions @ fusion.weights).astype(np.float32)
