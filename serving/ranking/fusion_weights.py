"""What each source weighs in the fusion: by setting, as the bundle has learned, or built in."""

import numpy as np
import numpy.typing as npt

from serving.ranking.settings import BUILT_IN_WEIGHTS, SOURCES, RankingSettings, Weights


def fusion_weights(
    settings: RankingSettings, calibrated: Weights | None
) -> npt.NDArray[np.float64]:
    """Return float64 [len(SOURCES)], what each source weighs.

    calibrated: of the sources but the two-tower, those of the bundle; None where it has none.
    """
    if settings.weights is None and calibrated is not None:
        return weight_vector(calibrated)
    vector = weight_vector(BUILT_IN_WEIGHTS if settings.weights is None else settings.weights)
    if settings.fusion != "mixture":
        vector[SOURCES.index("two_tower")] = 1.0
    return vector


def weight_vector(weights: Weights) -> npt.NDArray[np.float64]:
    """Return float64 [len(SOURCES)], of sum 1: what is left is the two-tower's."""
    vector = np.array([weights.get(name, 0.0) for name in SOURCES])
    vector[SOURCES.index("two_tower")] = 1 - vector.sum()
    return vector
