"""What every section of the settings has in common."""

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """A section of the settings: unchangeable, without other keys, and of numbers that are finite.

    An infinite weight or time, which TOML can write, would become NaN wherever it is divided.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
