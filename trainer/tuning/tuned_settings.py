"""The settings that a search may change."""

from feature_repo.settings_model import SettingsModel
from serving.settings import ServingSettings
from trainer.settings import TrainingSettings


class TunedSettings(SettingsModel):
    """The settings of training, and of how lists are made."""

    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()
