"""A small shop that was sampled, imported and trained with the real commands."""

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.support.forked_command import riverrun

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
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One shop for all processes that run tests: the first that needs it makes it."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    home = folder / "trained-shop"
    with (folder / "trained-shop.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            unfinished = folder / "trained-shop.unfinished"
            _train(unfinished)
            unfinished.rename(home)
    return home


def _train(home: Path) -> None:
    home.mkdir()
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


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "shop"))
