"""`riverrun train`, the training itself left out."""

import shutil
from errno import EACCES, EIO
from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import ComputeError
from safetensors import SafetensorError
from tensorflow.errors import ResourceExhaustedError

from feature_repo.archive import Archive, events_frame
from feature_repo.offline_features import OfflineFeatures
from feature_repo.schema import Event, Item
from riverrun import refreshing
from riverrun.cli.shop_training import train_shop
from riverrun.errors import RunFailedError, UserError
from riverrun.settings import Settings
from serving.bundle import BundleError
from tests.support.tiny_bundle import CREATED_AT, build_tiny_bundle
from trainer.interactions import Interactions
from trainer.refresh.lock import refresh_lock
from trainer.refresh.refresh import RefreshOutcome
from trainer.refresh.runs_file import RunsFile
from trainer.settings import TextSettings
from trainer.text_tower import installed_weights
from trainer.training_input_error import TrainingInputError

EVENT = Event(event_id="e", user_id="u", item_id="i", event_type="view", timestamp=CREATED_AT)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    settings.checkpoints.mkdir()
    (settings.checkpoints / "checkpoint").touch()
    return settings


def test_beside_a_refresh_that_runs_it_touches_nothing(settings: Settings) -> None:
    with (
        refresh_lock(settings.bundles),
        pytest.raises(RunFailedError, match="another refresh is at work"),
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
    assert len(RunsFile(settings.bundles).promoted()) == 1


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
    with pytest.raises(RunFailedError, match=rf"^{settings.home}: .*No space left on device"):
        train_shop(settings)
    assert (settings.checkpoints / "checkpoint").exists()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TrainingInputError("the catalogue is empty"), UserError),
        (PermissionError(EACCES, "Permission denied"), UserError),
        (OSError(EIO, "Input/output error"), RunFailedError),
        (ValueError("128 requested and 64 written"), RunFailedError),
        (BundleError(Path("items.parquet"), "is missing."), RunFailedError),
        (ResourceExhaustedError(None, None, "OOM when allocating tensor"), RunFailedError),
    ],
)
def test_what_may_pass_is_told_from_what_is_wrong(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> RefreshOutcome:
        raise error

    monkeypatch.setattr(refreshing, "refresh", failing)
    with pytest.raises(kind, match=rf"^{settings.home}"):
        train_shop(settings)


def test_histories_that_a_killed_training_has_left_are_removed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = events_frame([EVENT]).select("user_id", "timestamp")
    features = OfflineFeatures(settings.features)
    assert features.write_user_histories(events_frame([EVENT]), cuts)
    whole = settings.features / "user_history.parquet"
    shutil.copy(whole, settings.features / ".user_history.parquet.0123abcd")
    before = set(settings.features.iterdir())
    left: set[Path] = set()

    def training(*_: object, **__: object) -> RefreshOutcome:
        left.update(settings.features.iterdir())
        return RefreshOutcome(build_tiny_bundle(settings.bundles), 1, ())

    monkeypatch.setattr(refreshing, "refresh", training)
    train_shop(settings)
    assert {file.name for file in before - left} == {
        "user_history.parquet",
        ".user_history.parquet.0123abcd",
    }
    assert settings.features / "registry.db" in left


def test_an_archive_that_cannot_be_read_does_not_pass(settings: Settings) -> None:
    Archive(settings.archive).write_items("some", [Item(item_id="i")])
    (file,) = (settings.archive / "items").glob("*.parquet")
    file.write_bytes(b"no table at all")
    with pytest.raises(UserError, match=rf"^{settings.archive}: "):
        train_shop(settings)


@pytest.mark.parametrize("without", ["", "vocab.txt"])
def test_a_text_model_that_is_not_there_does_not_pass(settings: Settings, without: str) -> None:
    archive = Archive(settings.archive)
    archive.write_items("some", [Item(item_id="i")])
    archive.events.write("some", [EVENT])
    folder = settings.home / "nowhere"
    if without:
        folder.mkdir()
        for file in installed_weights().glob("*.*"):
            if file.name != without:
                (folder / file.name).symlink_to(file)
    text = TextSettings(model=str(folder))
    training = settings.training.model_copy(update={"text": text})
    with pytest.raises(
        UserError, match=rf"`training\.text\.model` cannot be loaded: .*{without or folder}"
    ):
        train_shop(settings.model_copy(update={"training": training}))


def test_no_column_is_read_that_training_does_not_use(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(settings.archive)
    archive.write_items("items", [Item(item_id="i")])
    long = EVENT.model_copy(update={"query": "lamp", "context": {"page": "x" * 60_000}})
    archive.events.write("events", [long])
    read: list[str] = []

    def work(events: pl.DataFrame, *_: object) -> RefreshOutcome:
        read.extend(events.columns)
        assert len(Interactions.from_frame(events, archive.items()).item) == 1
        return RefreshOutcome(build_tiny_bundle(settings.bundles), 1, ())

    monkeypatch.setattr(refreshing, "refresh", work)
    train_shop(settings)
    assert set(read) == {"event_id", "user_id", "item_id", "event_type", "timestamp"}
