"""The state of a training after its newest epoch, on disk, for an interrupted one to resume from.

<folder>/fingerprint       what the state is of, as `training_fingerprint` says it
<folder>/ckpt-<epochs>.*   weights, optimizer and epochs done, as TensorFlow's `Checkpoint`
<folder>/checkpoint        which of them is the newest
"""

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import structlog
import tensorflow as tf

from trainer.candidate_tower import CandidateVocabulary
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.two_tower_model import TwoTowerModel

_FINGERPRINT = "fingerprint"
_DAMAGED = (
    tf.errors.DataLossError,
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.OutOfRangeError,
    IndexError,
    ValueError,
)
"""As which TensorFlow tells that what it reads was cut off, altered or removed."""
_OF_THE_DISK = {os.strerror(number) for number in errno.errorcode} - {os.strerror(errno.ENOENT)}
"""What an operating system says of a file that may be whole, and cannot be read now."""


class EpochCheckpoints:
    """Sets a model to the state that a folder keeps, and keeps there the newest one.

    Args:
        folder: made where there is none; emptied where it is of another fingerprint, or damaged.
        fingerprint: equal only where a training may go on from the state of another.
        model: compiled, with the variables of its optimizer built.
    """

    def __init__(self, folder: Path, fingerprint: str, model: TwoTowerModel) -> None:
        if _fingerprint_of(folder) != fingerprint.encode():
            _empty(folder, fingerprint)
        self._epochs_done = tf.Variable(0, dtype=tf.int64)
        # The names are those by which what is on disk is read back.
        checkpoint = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, epochs_done=self._epochs_done
        )
        variables = [*model.variables, *model.optimizer.variables, self._epochs_done]
        is_kept = (folder / "checkpoint").exists()
        initial = [variable.numpy() for variable in variables] if is_kept else []
        try:
            self._manager = _manager(checkpoint, folder)
            self._manager.restore_or_initialize()
        except (tf.errors.OpError, *_DAMAGED) as error:
            if not _is_damage(error):
                raise
            warn_of_damage(folder, error)
            _empty(folder, fingerprint)
            # Some have been restored before the damage was met.
            for variable, value in zip(variables, initial, strict=True):
                variable.assign(value)
            self._manager = _manager(checkpoint, folder)

    @property
    def epochs_done(self) -> int:
        """After how many epochs the state was kept; 0 where none was."""
        return int(self._epochs_done)

    def save(self, epochs_done: int) -> None:
        """Keep the model's state of now, after so many epochs, in place of the one before."""
        self._epochs_done.assign(epochs_done)
        self._manager.save(epochs_done)


def training_fingerprint(
    settings: TrainingSettings,
    interactions: Interactions,
    vocabulary: CandidateVocabulary,
    start_version: str | None,
) -> str:
    """Return a hash of all that must be unchanged for a training to resume from a checkpoint.

    The catalogue may have grown since a training was interrupted: the tables then have other rows.
    And a training that had finished would learn nothing from events that came since.

    start_version: of the bundle that it starts from; None where it begins from nothing.
    """
    names = vocabulary
    parts = [
        settings.model_dump(mode="json"),
        start_version,
        interactions.digest(),
        [names.item_ids, names.categories, names.brands, names.tags, names.price_boundaries],
    ]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def warn_of_damage(folder: Path, error: Exception) -> None:
    """Log that a training begins anew, since what `folder` keeps of it cannot be read."""
    reason = f"what {folder} keeps is damaged: {' '.join(str(error).split())}"
    structlog.get_logger(__name__).warning("training_begins_anew", reason=reason)


def _is_damage(error: Exception) -> bool:
    """Return whether that is the fault of what was read, not of the place or of the memory."""
    if type(error) is tf.errors.OpError:
        # The reader of names and shapes has no other class, for damage and for the rest. What the
        # operating system said it puts last.
        return str(error).rpartition("; ")[-1] not in _OF_THE_DISK
    return isinstance(error, _DAMAGED)


def _manager(checkpoint: Any, folder: Path) -> Any:
    return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=1)


def _fingerprint_of(folder: Path) -> bytes | None:
    try:
        return (folder / _FINGERPRINT).read_bytes()
    except FileNotFoundError:
        return None


def _empty(folder: Path, fingerprint: str) -> None:
    """Remove whatever is in `folder`, and note the fingerprint of what will be kept there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _FINGERPRINT).write_text(fingerprint)
