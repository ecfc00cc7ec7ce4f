"""What can be set about drift."""

from typing import Annotated, Literal

from pydantic import Field

from feature_repo.settings_model import SettingsModel
from feature_repo.times import LONGEST_DAYS

Hours = Annotated[float, Field(ge=0, le=24 * LONGEST_DAYS)]
Signals = Literal["event_types", "categories", "embedding_norm", "unseen_items"]


class DriftSettings(SettingsModel):
    """When what happens is too far from what the model has learned from.

    thresholds: by signal; above it the model should be renewed. One that is left out is not
        measured.
    min_events: so many must have come since; fewer tell nothing.
    check_hours: how often `riverrun up` and `riverrun scheduler` look; 0 never.
    refresh: whether they begin a refresh where a signal is above its threshold.
    pause_hours: but not where one, of whatever cause, has begun within so many hours.
    """

    thresholds: dict[Signals, Annotated[float, Field(ge=0)]] = {
        "event_types": 0.25,
        "categories": 0.25,
        "embedding_norm": 0.25,
        "unseen_items": 0.2,
    }
    min_events: Annotated[int, Field(ge=1)] = 1_000
    check_hours: Hours = 0.0
    refresh: bool = False
    pause_hours: Hours = 24.0
