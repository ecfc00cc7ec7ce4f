"""From files to the archive: reading, mapping, cleaning, and presets for well-known data sets."""

from riverrun.importing.presets import PRESETS, PresetData, load_preset

__all__ = ["PRESETS", "PresetData", "load_preset"]
