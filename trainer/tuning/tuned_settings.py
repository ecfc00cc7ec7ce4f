"""The settings that a search may change."""

from pydantic import BaseModel, ConfigDict

from serving.settings import ServingSettings
from trainer.settings import TrainingSettings


class TunedSettings(BaseModel):
    """The settings of training, and of how lists are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()
