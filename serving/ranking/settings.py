"""What can be set about how the candidates of several sources become one list."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from feature_repo.settings_model import SettingsModel
from serving.source_names import REMAINDER, SOURCES, Source

Weight = Annotated[float, Field(ge=0, lt=1)]
Weights = dict[Source, Weight]
"""Of the sources in the fusion but the two-tower, to which they leave the rest; they sum to < 1."""

BUILT_IN_WEIGHTS: Weights = {"ease": 0.2, "co_visitation": 0.2, "trending": 0.1}
"""Careful guesses, where a shop has set none and its bundle has learned none."""


class RankingSettings(SettingsModel):
    """Who proposes candidates, and how they become one list.

    sources: those that are asked; what is left out is off.
    source_size: so many candidates each of them proposes; the two-tower, `pool_size`.
    learned: whether the bundle's ranker orders the candidates, where it has one.
    fusion: how they are ordered where no ranker does. "mixture" adds up probabilities, weights
        being the shares of the next events that a source explains, and the two-tower explaining
        the rest. "reciprocal_rank" adds up 1 / (60 + rank) (Cormack, Clarke and Buettcher,
        SIGIR 2009), "voting" the weights of those that propose the candidate at all; in both the
        two-tower weighs 1 beside `weights` that are set.
    weights: of the other sources in the fusion; one that is not named weighs 0. Unset, they are
        those that the training has learned of mixtures, from the newest slice; where the bundle
        has none, { ease = 0.2, co_visitation = 0.2, trending = 0.1 }. They have no effect where a
        ranker orders the candidates: `learned = false` lets them.
    event_type_weights: what an event of a type is worth to the ranker, in place of
        `training.ranking.event_type_weights`; "*" stands for all types that are not named there.
        The ranker has learned how probable each type is, so that these hold without a training.
        They have no effect on a fusion.
    age_half_life_days: each time an item has grown older by so much, it counts half as probable,
        whoever orders the candidates; where news is sought, a day or less. 0 leaves age to what the
        sources and the ranker say. An item without `published_at` does not age.
    """

    sources: tuple[Source, ...] = SOURCES
    source_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    learned: bool = True
    fusion: Literal["mixture", "reciprocal_rank", "voting"] = "mixture"
    weights: Weights | None = None
    event_type_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    age_half_life_days: Annotated[float, Field(ge=0, le=36_500)] = 0.0

    @model_validator(mode="after")
    def _leave_a_share_to_the_two_tower(self) -> "RankingSettings":
        if self.weights is None:
            return self
        if REMAINDER in self.weights:
            raise ValueError(
                f"`weights` must not name `{REMAINDER}`: the others leave it its share."
            )
        given = sum(self.weights.values())
        if self.fusion == "mixture" and given >= 1:
            raise ValueError(f"`weights` must sum to less than 1. Received: {given:g}.")
        return self
