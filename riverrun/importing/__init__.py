"""From files to the archive: reading, mapping, cleaning, and presets for well-known data sets."""

from riverrun.importing.presets import PRESETS, PresetData, load_preset
from riverrun.importing.report import ImportReport

__all__ = ["PRESETS", "ImportReport", "PresetData", "load_preset"]
