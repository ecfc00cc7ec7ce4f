"""What a sample shop is made from. The same settings give the same bytes."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field

from feature_repo.schema import Timestamp, content_id
from feature_repo.settings_model import SettingsModel


class SampleSettings(SettingsModel):
    """The size of a shop, its seed, and the window [end - days, end) of its events."""

    items: Annotated[int, Field(ge=100, le=10_000_000)] = 1_000
    users: Annotated[int, Field(ge=10, le=100_000_000)] = 1_000
    events: Annotated[int, Field(ge=1, le=1_000_000_000)] = 50_000
    days: Annotated[int, Field(ge=1, le=3_650)] = 60
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    end: Timestamp

    @property
    def start(self) -> datetime:
        """The first moment of the window."""
        return self.end - timedelta(days=self.days)

    @property
    def event_id_prefix(self) -> str:
        """Keeps the event ids of different samples apart."""
        return content_id(self.model_dump_json())[:8]
