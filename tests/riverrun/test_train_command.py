"""`riverrun train`, the training itself left out."""

from pathlib import Path

import pytest
from polars.exceptions import ComputeError
from safetensors import SafetensorError
from tensorflow.errors import ResourceExhaustedError

from riverrun import refreshing
from riverrun.cli.train import train_shop
from riverrun.errors import UserError
from riverrun.settings import Settings
from tests.support.tiny_bundle import build_tiny_bundle
from trainer.promotions import Promotions
from trainer.refresh import RefreshOutcome
from trainer.refresh_lock import refresh_lock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    settings.checkpoints.mkdir()
    (settings.checkpoints / "checkpoint").touch()
    return settings


def test_beside_a_refresh_that_runs_it_touches_nothing(settings: Settings) -> None:
    with (
        refresh_lock(settings.bundles),
        pytest.raises(UserError, match="another refresh is at work"),
    ):
        train_shop(settings, fresh=True)
    assert (settings.checkpoints / "checkpoint").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_checkpoints_are_gone_on_from_unless_asked_not_to_and_removed_once_it_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, fresh: bool
) -> None:
    there: list[bool] = []

    def work(*_: object) -> RefreshOutcome:
        there.append((settings.checkpoints / "checkpoint").exists())
        return RefreshOutcome(build_tiny_bundle(settings.bundles), 1, ())

    monkeypatch.setattr(refreshing, "refresh_from_archive", work)
    train_shop(settings, fresh=fresh)
    assert there == [not fresh]
    assert not settings.checkpoints.exists()
    assert len(Promotions(settings.bundles).versions()) == 1


def test_what_a_training_that_was_killed_had_half_exported_is_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = settings.bundles / ".building-20260101T000000Z-0000"
    half.mkdir(parents=True)
    (half / "items.parquet").touch()

    def work(*_: object) -> RefreshOutcome:
        # There is room for the next before it is made.
        assert not half.exists()
        return RefreshOutcome(build_tiny_bundle(settings.bundles), 1, ())

    monkeypatch.setattr(refreshing, "refresh_from_archive", work)
    train_shop(settings)
    assert not half.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError("No space left on device"),
        ResourceExhaustedError(None, None, "variables.index; No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        ComputeError("underlying IO error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_in_one_line_whoever_writes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object, **__: object) -> RefreshOutcome:
        raise error

    monkeypatch.setattr(refreshing, "refresh", full)
    with pytest.raises(UserError, match=rf"^{settings.home}: .*No space left on device"):
        train_shop(settings)
    assert (settings.checkpoints / "checkpoint").exists()
