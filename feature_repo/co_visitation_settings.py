"""What can be set about co-visitation."""

from typing import Annotated

from pydantic import Field

from feature_repo.event_weights import EVENT_WEIGHTS, Weight
from feature_repo.schema import EventType
from feature_repo.settings_model import SettingsModel


class CoVisitationSettings(SettingsModel):
    """Which two events of a user make a pair, and what it weighs.

    neighbours: each partition keeps so many per item at most; 0 turns co-visitation off.
    window_days: events further apart make no pair. gap_days: a pair's weight falls by e over
        this gap.
    backward: what a → b counts for b → a; events of one moment count fully both ways.
    event_type_weights: a pair weighs the geometric mean of its events; other types weigh 1.
    """

    neighbours: Annotated[int, Field(ge=0, le=10_000)] = 200
    window_days: Annotated[float, Field(ge=0)] = 1.0
    gap_days: Annotated[float, Field(gt=0)] = 0.5
    backward: Annotated[float, Field(ge=0, le=1)] = 0.5
    event_type_weights: dict[EventType, Weight] = EVENT_WEIGHTS
