"""The state that a training keeps after each epoch: gone on from where it is whole and its own."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support import tiny_training as tiny
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.train import TrainingHooks, train
from trainer.trained_model import TrainedModel
from trainer.windows import make_windows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_step_by_step")]

SETTINGS = tiny.tiny_settings(epochs=2, transformer_layers=0)
USERS, EVENTS = 12, 4


def trained(checkpoints: Path, columns: Interactions | None = None) -> TrainedModel:
    columns = tiny.tiny_interactions(USERS, EVENTS) if columns is None else columns
    windows, texts = make_windows(columns, SETTINGS), tiny.tiny_text_embeddings()
    lesson = Lesson(columns, windows, SETTINGS, texts)
    return train(lesson, tiny.tiny_text_tower(), TrainingHooks(checkpoints))


@dataclass(frozen=True)
class Done:
    """A training that is done, and what it has kept."""

    model: TrainedModel
    checkpoints: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    checkpoints = tmp_path_factory.mktemp("done")
    return Done(trained(checkpoints), checkpoints)


@pytest.fixture
def kept(done: Done, tmp_path: Path) -> Path:
    """A copy of what it has kept."""
    return Path(shutil.copytree(done.checkpoints, tmp_path / "kept"))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def altered(file: Path) -> None:
    kept = file.read_bytes()
    # Near its end, where others have been read and found whole.
    file.write_bytes(kept[:-200] + bytes(each ^ 255 for each in kept[-200:]))


@pytest.mark.parametrize(
    ("damaged", "file"),
    [
        (cut_off, "ckpt-2.data-00000-of-00001"),
        (altered, "ckpt-2.data-00000-of-00001"),
        (altered, "ckpt-2.index"),
        (Path.unlink, "ckpt-2.index"),
        (lambda file: file.write_bytes(b""), "checkpoint"),
        (lambda file: file.write_bytes(b"\xff"), "fingerprint"),
    ],
)
def test_beside_a_damaged_state_a_training_begins_anew(
    done: Done, kept: Path, damaged: Callable[[Path], None], file: str
) -> None:
    damaged(kept / file)
    anew = trained(kept)
    np.testing.assert_allclose(anew.losses, done.model.losses, rtol=1e-4)
    # What is kept now is whole.
    assert not trained(kept).losses


def test_what_a_disk_does_not_give_now_is_not_taken_for_damaged(kept: Path) -> None:
    file = kept / "ckpt-2.data-00000-of-00001"
    away = file.rename(kept / "away")
    file.symlink_to(file)
    with pytest.raises(tf.errors.OpError, match="Too many levels of symbolic links"):
        trained(kept)
    away.rename(file)
    assert not trained(kept).losses


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.PermissionDeniedError,
        tf.errors.UnavailableError,
        tf.errors.UnknownError,
        tf.errors.ResourceExhaustedError,
    ],
)
def test_nor_is_what_it_does_not_give_later(
    kept: Path, error: type[tf.errors.OpError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(manager: tf.train.CheckpointManager) -> None:
        raise error(None, None, "the disk is away")

    with monkeypatch.context() as patched:
        patched.setattr(tf.train.CheckpointManager, "restore_or_initialize", away)
        with pytest.raises(error):
            trained(kept)
    assert not trained(kept).losses


def test_beside_other_events_a_training_begins_anew(kept: Path) -> None:
    """Also one that was done: it would say that it has learned from them."""
    # More, fewer, and as many at other times: each time it is trained.
    for events in (EVENTS + 1, EVENTS):
        columns = tiny.tiny_interactions(USERS, events)
        assert len(trained(kept, columns).losses) == SETTINGS.epochs
    other = replace(columns, timestamp=columns.timestamp + 1)
    assert len(trained(kept, other).losses) == SETTINGS.epochs
    assert not trained(kept, other).losses
