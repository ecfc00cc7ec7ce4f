"""Well-known data sets, read as they are published.

`load_preset("online-retail", path)` gives items, users and events in memory, for evaluation
without an archive and for `riverrun import preset`.
"""

from collections.abc import Callable
from pathlib import Path

from riverrun.errors import UserError
from riverrun.importing.presets import icecat, movielens, online_retail, sequences
from riverrun.importing.presets.data import PresetData
from riverrun.importing.report import ImportReport

PRESETS: dict[str, Callable[[Path, ImportReport], PresetData]] = {
    "online-retail": online_retail.load,
    "movielens": movielens.load,
    "sequences": sequences.load,
    "icecat": icecat.load,
}

__all__ = ["PRESETS", "PresetData", "load_preset"]


def load_preset(name: str, path: Path, report: ImportReport | None = None) -> PresetData:
    """Read the data set `name` from the file or folder `path`.

    `report` counts what happened to every row. Raises `UserError` for an unknown name, an
    absent file, or a file that is not of the data set's form.
    """
    if name not in PRESETS:
        raise UserError(f"preset {name!r} is unknown. Known: {', '.join(PRESETS)}.")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder.")
    return PRESETS[name](path, ImportReport() if report is None else report)
