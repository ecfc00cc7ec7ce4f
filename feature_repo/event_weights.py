"""What an event counts for, by its type."""

from typing import Annotated

from pydantic import Field

Weight = Annotated[float, Field(ge=0)]

EVENT_WEIGHTS = {"view": 1.0, "click": 1.0, "cart": 3.0, "purchase": 5.0, "rating": 2.0}
"""The default of settings that weight events by type."""

UNNAMED_WEIGHT = 1.0
"""The weight of an event whose type such a setting does not name."""
