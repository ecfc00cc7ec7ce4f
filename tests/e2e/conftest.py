"""A small shop that was sampled, imported and trained with the real commands."""

import shutil
from pathlib import Path

import pytest

from tests.support.command import riverrun

SETTINGS = """
[training]
epochs = 2
dimension = 32
history_length = 32
labels_per_position = 4
holdout_share = 0.0
horizon_days = 1.0
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("shop")
    settings = home / "riverrun.toml"
    settings.write_text(SETTINGS)
    sample = ["--items", "300", "--users", "150", "--events", "4000", "--days", "20"]
    for arguments in (
        ["sample", "--out", str(home / "sample"), *sample],
        ["import", "shop", str(home / "sample"), "--home", str(home)],
        ["train", "--home", str(home), "--settings", str(settings)],
    ):
        done = riverrun(*arguments)
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "shop"))
