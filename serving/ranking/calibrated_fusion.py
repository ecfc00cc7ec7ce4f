"""What the fusion goes by: as set, as the bundle has learned, or as built in."""

from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, field_validator

from serving.ranking.settings import BUILT_IN_WEIGHTS, RankingSettings, Weights
from serving.source_names import REMAINDER, SOURCES


class CalibratedFusion(BaseModel):
    """What a training has learned of the fusion from the newest events.

    weights: of the sources but the two-tower, the shares of the next events that they explain.
    temperature: what the two-tower's scores are divided by, so that their softmax over the
        candidates is as sure as it has reason to be (Guo et al., ICML 2017, arXiv:1706.04599).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Weights
    temperature: Annotated[float, Field(gt=0, le=100)] = 1.0

    @field_validator("weights")
    @classmethod
    def _could_be_set(cls, weights: Weights) -> Weights:
        RankingSettings(weights=weights)
        return weights


class Fusion(NamedTuple):
    """weights: float64 [len(SOURCES)]. temperature: of the two-tower's scores, in a mixture."""

    weights: npt.NDArray[np.float64]
    temperature: float


def fusion_of(settings: RankingSettings, calibrated: CalibratedFusion | None) -> Fusion:
    """Return what the fusion goes by. Weights that are set go before those of the bundle.

    calibrated: the bundle's; None where it has none.
    """
    temperature = calibrated.temperature if calibrated else 1.0
    if settings.weights is None and calibrated is not None:
        return Fusion(weight_vector(calibrated.weights), temperature)
    vector = weight_vector(BUILT_IN_WEIGHTS if settings.weights is None else settings.weights)
    if settings.fusion != "mixture":
        vector[SOURCES.index(REMAINDER)] = 1.0
    return Fusion(vector, temperature)


def weight_vector(weights: Weights) -> npt.NDArray[np.float64]:
    """Return float64 [len(SOURCES)], of sum 1: what is left is the two-tower's."""
    vector = np.array([weights.get(name, 0.0) for name in SOURCES])
    vector[SOURCES.index(REMAINDER)] = 1 - vector.sum()
    return vector
