"""`--full` and `--days N` of `riverrun train` and `riverrun refresh`, by real trainings."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from feature_repo.archive import Archive
from feature_repo.times import moment_of
from riverrun import __version__
from riverrun.cli.refresh import refresh
from riverrun.cli.train import train
from serving.bundle import read_manifest
from serving.published_bundles import current_bundle
from tests.support import tiny_training as tiny
from tests.support.step_by_step import step_by_step
from tests.support.tiny_refresh import USERS, events
from trainer import material
from trainer.history_examples import joined_windows
from trainer.interactions import Interactions
from trainer.warm_start import WEIGHTS
from trainer.windows import Windows

pytestmark = pytest.mark.slow

SETTINGS = f"""
{tiny.TRAINING}labels_per_position = 1
epochs = 1
holdout_share = 0.0
[training.ranking]
enabled = false
[training.warm_start]
epochs = 1
min_users = 10
[refresh.gates]
min_users = 0
max_loss = {{{{}}}}
"""
OTHER_SEED = SETTINGS.replace("[training]", "[training]\nseed = 7")
UNTIL = 30


@dataclass(frozen=True)
class Shop:
    """A shop in which what serves has seen 20 of the 30 hours, and is of another seed."""

    home: Path
    settings_file: Path

    def run(self, command: Callable[..., None], **options: Any) -> None:
        command(home=self.home, settings_file=self.settings_file, **options)

    @property
    def bundle(self) -> Path:
        bundle = current_bundle(self.home / "bundles")
        assert bundle is not None
        return bundle

    @property
    def start(self) -> str:
        return str(read_manifest(self.bundle).model["start"])


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    home = tmp_path_factory.mktemp("shop")
    preset = tiny.tiny_preset(tmp_path_factory.mktemp("bert"))
    file = tmp_path_factory.mktemp("settings") / "riverrun.toml"
    archive = Archive(home / "archive")
    archive.write_items("items", tiny.tiny_items())
    archive.events.write("first", events(0, 20))
    file.write_text(OTHER_SEED.format(preset=preset))
    shop = Shop(home, file)
    shop.run(train)
    archive.events.write("second", events(20, UNTIL))
    file.write_text(SETTINGS.format(preset=preset))
    return shop


@pytest.fixture
def shop(served: Shop, tmp_path: Path) -> Shop:
    return replace(served, home=Path(shutil.copytree(served.home, tmp_path / "shop")))


def test_a_full_training_takes_nothing_over_from_what_serves(shop: Shop, tmp_path: Path) -> None:
    """It makes what a shop makes in which nothing ever served."""
    nothing = replace(shop, home=tmp_path / "nothing")
    shutil.copytree(shop.home / "archive", nothing.home / "archive")
    nothing.run(train)
    assert nothing.start == "cold start: no bundle serves yet"
    assert read_manifest(nothing.bundle).model["made_by"] == f"riverrun {__version__}"
    expected = load_file(nothing.bundle / WEIGHTS)
    for command in (train, refresh):
        before = shop.bundle
        shop.run(command, full=True)
        assert shop.bundle != before
        assert shop.start == "cold start: a warm one is not enabled"
        made = load_file(shop.bundle / WEIGHTS)
        assert made.keys() == expected.keys()
        for name, weights in made.items():
            # Of what serves they are .1 apart.
            np.testing.assert_allclose(weights, expected[name], atol=1e-2, err_msg=name)


def test_a_refresh_of_days_is_asked_for_what_happened_in_these_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the days before it knows what their users did, and no label is of them."""
    learned: list[tuple[Interactions, Windows]] = []

    class EnoughError(Exception):
        pass

    def joined(interactions: Interactions, *arguments: Any) -> Windows:
        windows = joined_windows(interactions, *arguments)
        learned.append((interactions, windows))
        return windows

    def joined_at_last(*arguments: Any) -> Windows:
        joined(*arguments)
        raise EnoughError

    monkeypatch.setattr(material, "joined_windows", joined)

    def hours_of_labels() -> list[float]:
        ((interactions, windows),) = learned
        learned.clear()
        assert len(interactions.item) == USERS * UNTIL
        ranges = zip(windows.label_start, windows.label_end, strict=True)
        labels = np.unique(np.concatenate([np.arange(*each) for each in ranges]))
        moments = np.unique(interactions.timestamp[labels])
        return [(moment_of(int(moment)) - tiny.START) / timedelta(hours=1) for moment in moments]

    shop.run(refresh, days=0.25)
    assert shop.start.startswith("warm start from")
    # Six hours before the newest event, that of hour 29.
    assert hours_of_labels() == list(range(23, UNTIL))
    monkeypatch.setattr(material, "joined_windows", joined_at_last)
    with pytest.raises(EnoughError):
        shop.run(refresh)
    # What users do first follows nothing.
    assert hours_of_labels() == list(range(1, UNTIL))
